"""Ask a running worker (`neo demo --keep`, or `neo serve`) for a ranked list and for a stream.

python examples/rank_and_stream.py [127.0.0.1:50051]
"""

import sys

from neo_runtime import NeoClient
from neo_runtime.client import ItemSpan, Text, generate_request, rank_request
from neo_runtime.types import ItemKey

LIKED = [ItemKey("film", "alien-1979"), ItemKey("film", "blade-runner-1982"), ItemKey("book", "dune-1965")]

with NeoClient(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051") as client:
    answer = client.rank(rank_request("film", history=LIKED, limit=5))
    for place, row in enumerate(answer.results, start=1):
        print(place, row.item.title, f"{row.logprob:.2f}")

    for event in client.generate(generate_request(task="explain", item_type="book", history=LIKED)):
        match event:
            case Text():
                print(event.text, end="", flush=True)
            case ItemSpan():
                print(f"[{event.item.title}]", end="", flush=True)
    print()
