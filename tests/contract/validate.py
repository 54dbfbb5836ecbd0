"""Holds captured messages against the contract: `topic payload` lines on standard input, the folder of schemas as argument.

The AsyncAPI document says which schema a topic has, the schemas say what a document is; `jsonschema` judges. Prints how many
there were of each, and every complaint. Exit code 1 where there is one.
"""
import json
import re
import sys
from collections import Counter
from pathlib import Path

from jsonschema import Draft202012Validator

folder = Path(sys.argv[1])
api = json.loads((folder / "asyncapi.json").read_text("utf-8"))
schemas = {path.stem: json.loads(path.read_text("utf-8")) for path in (folder / "schemas").glob("*.json")}
for schema in schemas.values():
    Draft202012Validator.check_schema(schema)
validators = {
    name: Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER) for name, schema in schemas.items()
}


def pattern(address, parameters):
    """The topics of a channel."""
    text = re.escape(address).replace(r"\{", "{").replace(r"\}", "}")
    for name, parameter in parameters.items():
        words = "|".join(parameter.get("enum", [])) or ("[0-9]+" if name == "part" else "[A-Za-z0-9_-]+")
        text = text.replace("{" + name + "}", f"({words})")
    return re.compile(text)


channels = [
    (pattern(channel["address"], channel["parameters"]), next(iter(channel["messages"].values()))["$ref"].rsplit("/", 1)[1])
    for channel in api["channels"].values()
]
seen, faults = Counter(), []
for line in sys.stdin.buffer:
    topic, _, payload = line.rstrip(b"\n").partition(b" ")
    topic = topic.decode()
    if payload in (b"", b"(null)"):
        continue
    names = {name for known, name in channels if known.fullmatch(topic)}
    if len(names) != 1:
        faults.append(f"{topic}: {sorted(names)} in the AsyncAPI document")
        continue
    name = names.pop()
    seen[name] += 1
    text = payload.decode()
    document = json.loads(text)
    if text != json.dumps(document, ensure_ascii=False, separators=(",", ":")) and not name.startswith(("command", "station")):
        # Numbers may be written otherwise (1.0 and 1), spaces may not be there.
        if re.search(r'[,:] "|": ', text):
            faults.append(f"{topic}: not compact")
    for error in validators[name].iter_errors(document):
        faults.append(f"{topic}: {error.json_path}: {error.message[:200]}")
for name, count in sorted(seen.items()):
    print(f"{name} {count}")
for fault in faults[:20]:
    print("FAULT", fault)
sys.exit(1 if faults else 0)
