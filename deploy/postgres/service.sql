-- One service's roles and database. psql runs it with the variables owner, app, database, owner_password and
-- app_password (`psql -v app=ledger …`); deploy/local runs the same statements, one by one.
-- The owner migrates; the app role only uses what the migrations grant to it, and neither sees another's database.
CREATE ROLE :"owner" LOGIN PASSWORD :'owner_password';
CREATE ROLE :"app" LOGIN PASSWORD :'app_password';
-- Time-outs: nothing that a service does takes long, so what does is stuck and must let go of its locks.
ALTER ROLE :"owner" SET lock_timeout = '5s';
ALTER ROLE :"owner" SET statement_timeout = '5min';
ALTER ROLE :"app" SET lock_timeout = '10s';
ALTER ROLE :"app" SET statement_timeout = '30s';
ALTER ROLE :"app" SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE :"app" SET transaction_timeout = '60s';
-- Text in order of its code points, as programs compare it, whatever language the server speaks.
CREATE DATABASE :"database" OWNER :"owner" TEMPLATE template0 ENCODING 'UTF8'
    LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8';
-- Services' plans read by key whatever the statistics say, so a sample of 3,000 rows does for them. The usual one, ten
-- times as large, is taken of every table that grows by a tenth, and took up to a quarter of the server's time under load.
ALTER DATABASE :"database" SET default_statistics_target = 10;
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"app";
