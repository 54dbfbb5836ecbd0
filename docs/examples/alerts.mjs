// What is open at every bed, whether it is live, and what happens: a reader of vitalguard's topics.
//
//     npm install mqtt@5.16.0
//     node alerts.mjs mqtt://127.0.0.1:1883 main
//
// Address of the broker, then the site. An account comes from MQTT_USERNAME and MQTT_PASSWORD, an authority of your own from
// NODE_EXTRA_CA_CERTS. Writes the list of open alerts whenever it changes, and a line for each event.
import mqtt from "mqtt";

const [url = "mqtt://127.0.0.1:1883", site = "main"] = process.argv.slice(2);
const filters = ["sys/heartbeat", "ward/+/bed/+/state", "ward/+/bed/+/event/#"].map((rest) => `vitalguard/v1/${site}/${rest}`);
const beds = new Map(); // topic of a bed: what its last document says
const seen = new Map(); // alert: the highest seq that was told
let beat = {}; // the last heartbeat
let heard = -Infinity; // when it came, on a clock that nobody sets
let shown = "";

const told = (a) => `${a.priority} ${a.ward}/${a.bed} ${a.ref} ${a.text.en}`;

function hear(topic, bytes, packet) {
  if (bytes.length === 0) return void beds.delete(topic); // the bed is gone
  const document = JSON.parse(bytes);
  if (topic.endsWith("/sys/heartbeat")) {
    if (packet.retain) return; // a kept one proves nothing
    if (document.boot !== beat.boot) seen.clear();
    [beat, heard] = [document, performance.now()];
  } else if (topic.endsWith("/state")) {
    const { boot, rev, valid_until, active } = document;
    const before = beds.get(topic);
    if (before?.boot !== boot || before.rev < rev) beds.set(topic, { boot, rev, valid_until, open: active.map(told) });
  } else if (document.seq > (seen.get(document.alert.id) ?? 0)) {
    seen.set(document.alert.id, document.seq);
    console.log(`${document.event} ${told(document.alert)}`);
  }
}

function show() {
  const live = performance.now() - heard < 15_000;
  // What another start of the service has said is forgotten, and so is what is too old by the service's own clock.
  const current = [...beds.values()].filter((bed) => bed.boot === beat.boot && bed.valid_until > beat.ts);
  const open = current.flatMap((bed) => bed.open);
  const now = [`${live ? "LIVE" : "NOT LIVE, look at the bedside monitors"}: ${open.length} open`, ...open].join("\n  ");
  if (now !== shown) console.log((shown = now));
}

const { MQTT_USERNAME: username, MQTT_PASSWORD: password } = process.env;
const client = mqtt.connect(url, { username, password, clean: true, resubscribe: false });
client.on("connect", () => client.subscribe(filters, { qos: 1 }));
client.on("error", (error) => console.error(error.message));
client.on("message", (topic, bytes, packet) => {
  try {
    hear(topic, bytes, packet);
  } catch (error) {
    console.error(`not understood: ${topic}: ${error.message}`);
  }
});
setInterval(show, 1000);
