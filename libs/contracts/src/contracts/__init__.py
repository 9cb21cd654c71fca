"""Everything that services know of each other: topics, events, and the arithmetic that an order carries in itself.

One module per topic is the whole truth about it: its events, who writes, who reads, its key, partitions and
retention. The JSON Schemas, the examples, `docs/events.md` and the AsyncAPI document are generated from here by
`python -m contracts generate`.
"""

from contracts.event import Event, Malformed, Model, decode, encode
from contracts.topic import Topic

__all__ = ["Event", "Malformed", "Model", "Topic", "decode", "encode"]
