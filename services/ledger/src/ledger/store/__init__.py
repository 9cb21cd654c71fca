"""The only SQL: load what postings need, save what follows from them, and read for others.

`loading` before a decision · `saving` after it · `reading` for HTTP · `log` for the relay · `upkeep` for jobs ·
`checking` for whoever must prove that the books are right.
"""
