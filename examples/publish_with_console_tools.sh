#!/usr/bin/env bash
# Publish one paid order with Kafka's own console producer: one line of headers, key and value, parted by tabs.
#
#   SHOP=demo MEMBER=h-1 ORDER=my-2 CENTS=1250 examples/publish_with_console_tools.sh
#
# PRODUCER is the command of the console producer: kafka-console-producer.sh of any Kafka distribution, or, as here,
# the one that comes with the local system.
set -euo pipefail

BOOTSTRAP_SERVERS=${BOOTSTRAP_SERVERS:-127.0.0.1:9192}
PRODUCER=${PRODUCER:-.venv/bin/python -m local tool console-producer}
SHOP=${SHOP:-demo} MEMBER=${MEMBER:?} ORDER=${ORDER:?} CENTS=${CENTS:?} REVISION=${REVISION:-1}
NOW=$(date -u +%Y-%m-%dT%H:%M:%SZ)

headers="ce_specversion:1.0,ce_id:$ORDER-$REVISION,ce_source:/shops/$SHOP,ce_type:order-paid,content-type:application/json"
key="$SHOP/$MEMBER"
value='{"shop":"'$SHOP'","order":"'$ORDER'","revision":'$REVISION',"member":"'$MEMBER'","currency":"USD",'
value+='"lines":[{"line":"1","product":"coffee","quantity":1,"unit_price":'$CENTS'}],'
value+='"tenders":[{"kind":"card","amount":'$CENTS'}],"placed_at":"'$NOW'","paid_at":"'$NOW'"}'

printf '%s\t%s\t%s\n' "$headers" "$key" "$value" |
    $PRODUCER --bootstrap-server "$BOOTSTRAP_SERVERS" --topic orders --command-property acks=all \
        --reader-property parse.headers=true --reader-property parse.key=true
