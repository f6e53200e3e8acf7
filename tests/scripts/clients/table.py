"""The calls of recorder.py as a table, one line per client, and every reason. Exit 1 when an answer was silently wrong.

usage: table.py TABLE.jsonl
right  the exchange would have answered that        error   refused, and the caller is told why
client the client refuses by itself, asks nothing   WRONG   anything else
"""
import collections
import json
import sys

lines = [json.loads(line) for line in open(sys.argv[1])]
kinds = ("right", "error", "client", "WRONG")
counts = collections.defaultdict(collections.Counter)
reasons = collections.defaultdict(list)
for line in lines:
    counts[line["client"]][line["verdict"]] += 1
    if line["verdict"] != "right":
        reasons[line["client"], line["verdict"], line["why"][:150]].append(line["call"])
for (client, verdict, why), calls in sorted(reasons.items()):
    print(f"{verdict:7} {client}: {', '.join(calls)}\n          {why}")
print(f"\n{'client':46}" + "".join(f"{k:>8}" for k in kinds))
for client, found in counts.items():
    print(f"{client:46}" + "".join(f"{found[k]:8}" for k in kinds))
wrong = sum(c["WRONG"] for c in counts.values())
print("nothing is silently wrong" if not wrong else f"{wrong} calls are silently wrong")
sys.exit(1 if wrong else 0)
