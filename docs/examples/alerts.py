#!/usr/bin/env python3
"""What is open at every bed, whether it is live, and what happens: a reader of vitalguard's topics.

    pip install paho-mqtt==2.1.0
    python3 alerts.py mqtt://127.0.0.1:1883 main

Address of the broker, then the site. An account comes from MQTT_USERNAME and MQTT_PASSWORD, an authority of your own from
SSL_CERT_FILE. Writes the list of open alerts whenever it changes, and a line for each event.
"""
import json
import os
import sys
import time
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt

url = urlsplit(sys.argv[1] if len(sys.argv) > 1 else "mqtt://127.0.0.1:1883")
base = f"vitalguard/v1/{sys.argv[2] if len(sys.argv) > 2 else 'main'}"
filters = [(f"{base}/{rest}", 1) for rest in ("sys/heartbeat", "ward/+/bed/+/state", "ward/+/bed/+/event/#")]
beds = {}  # topic of a bed: what its last document says
seen = {}  # alert: the highest seq that was told
beat = {"boot": None, "ts": ""}  # the last heartbeat
heard = float("-inf")  # when it came, on a clock that nobody sets


def told(alert):
    return "{priority} {ward}/{bed} {ref} {text[en]}".format(**alert)


def hear(topic, payload, retained):
    global beat, heard
    if not payload:
        beds.pop(topic, None)  # the bed is gone
        return
    document = json.loads(payload)
    if topic.endswith("/sys/heartbeat"):
        if retained:
            return  # a kept one proves nothing
        if document["boot"] != beat["boot"]:
            seen.clear()
        beat, heard = document, time.monotonic()
    elif topic.endswith("/state"):
        bed = {name: document[name] for name in ("boot", "rev", "valid_until")}
        bed["open"] = [told(alert) for alert in document["active"]]
        before = beds.get(topic)
        if before is None or before["boot"] != bed["boot"] or before["rev"] < bed["rev"]:
            beds[topic] = bed
    elif document["seq"] > seen.get(document["alert"]["id"], 0):
        seen[document["alert"]["id"]] = document["seq"]
        print(document["event"], told(document["alert"]), flush=True)


def state():
    live = time.monotonic() - heard < 15
    # What another start of the service has said is forgotten, and so is what is too old by the service's own clock.
    current = [bed for bed in list(beds.values()) if bed["boot"] == beat["boot"] and bed["valid_until"] > beat["ts"]]
    opened = [alert for bed in current for alert in bed["open"]]
    return "\n  ".join([f"{'LIVE' if live else 'NOT LIVE, look at the bedside monitors'}: {len(opened)} open", *opened])


def on_message(client, userdata, message):
    try:
        hear(message.topic, message.payload, message.retain)
    except (ValueError, KeyError, TypeError) as error:
        print(f"not understood: {message.topic}: {error}", file=sys.stderr)


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
if "MQTT_USERNAME" in os.environ:
    client.username_pw_set(os.environ["MQTT_USERNAME"], os.environ.get("MQTT_PASSWORD"))
if url.scheme == "mqtts":
    client.tls_set()
client.on_connect = lambda client, *_: client.subscribe(filters)
client.on_message = on_message
client.connect_async(url.hostname, url.port or (8883 if url.scheme == "mqtts" else 1883))
client.loop_start()
shown = ""
while True:
    now = state()
    if now != shown:
        shown = now
        print(shown, flush=True)
    time.sleep(1)
