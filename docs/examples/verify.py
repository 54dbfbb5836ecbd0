#!/usr/bin/env python3
"""Verifies signed vitalguard documents.

    mosquitto_sub -q 1 -t 'vitalguard/#' -v | python3 verify.py k1=/etc/vitalguard/sign.key

Reads `topic payload` lines, one document a line, and holds against each: the signature, the place that the topic names, and
that `rev` does not go back within one `boot`. Says what does not hold, and at the end how many did. Exit code 1 where any did
not. A key is the first line of its file. What stations and users write is only looked at where it is signed.
Needs nothing but Python 3.8.
"""
import hashlib
import hmac
import json
import sys

MEMBER = b',"sig":"'


def proven(payload, keys):
    """None where the signature holds, else why not."""
    at = payload.rfind(MEMBER)
    if at < 0 or not payload.endswith(b'"}'):
        return "no signature"
    try:
        algorithm, name, digits = payload[at + len(MEMBER) : -2].decode("ascii").split(":")
    except ValueError:
        return "no signature that can be read"
    if algorithm != "hmac-sha256" or name not in keys:
        return "a key that is not known"
    expected = hmac.new(keys[name], payload[:at] + b"}", hashlib.sha256).hexdigest()
    return None if hmac.compare_digest(expected, digits) else "another key or other bytes"


def placed(topic, document):
    """None where the document says the place of its topic, else what differs."""
    levels = topic.split("/")
    # {root}/v1/{site}/…, below {root}/replay/{run} for a replay.
    site = levels.index("v1") + 1
    where = {"site": levels[site]}
    rest = levels[site + 1 :]
    for name in ("ward", "bed", "feed", "device"):
        if name in rest[:-1]:
            where[name] = rest[rest.index(name) + 1]
    for name, value in where.items():
        # `flat` names no place, `device` of a bed is an object.
        if isinstance(document.get(name, value), str) and document.get(name, value) != value:
            return name
    if len(rest) >= 2 and rest[-2] == "event" and "alert" in document:
        before = document.get("prev", {}).get("priority")
        if rest[-1] not in (document["alert"]["priority"], before):
            return "priority"
    return None


def main():
    keys = {}
    for argument in sys.argv[1:]:
        name, path = argument.split("=", 1)
        with open(path, "rb") as file:
            keys[name] = file.readline().rstrip(b"\r\n")
    if not keys:
        sys.exit("usage: verify.py ID=KEYFILE [ID=KEYFILE …] < lines")
    newest, good, bad = {}, 0, 0
    for line in sys.stdin.buffer:
        topic, _, payload = line.rstrip(b"\r\n").partition(b" ")
        topic = topic.decode("utf-8", "replace")
        if payload in (b"", b"(null)"):
            continue  # a tombstone: gone
        ours = not ("/cmd/" in topic or "/station/" in topic)
        if not ours and MEMBER not in payload:
            continue
        why = proven(payload, keys)
        if why is None:
            document = json.loads(payload)
            wrong = placed(topic, document)
            if wrong:
                why = f"{wrong} is not that of the topic"
            elif "rev" in document and ours and "/rsp/" not in topic:
                key = (topic, document.get("boot"))
                if document["rev"] < newest.get(key, 0):
                    why = "older than the one before"
                newest[key] = max(document["rev"], newest.get(key, 0))
        if why is None:
            good += 1
        else:
            bad += 1
            print(f"BAD {topic}: {why}")
    print(f"{good} good, {bad} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
