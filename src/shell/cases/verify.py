# Checks an evidence bundle: python3 verify.py BUNDLE.zip [KEY.pem]. Needs openssl; KEY.pem: the site's key, known from elsewhere.
import base64, hashlib, json, os, subprocess, sys, tempfile, zipfile
def sha(data): return hashlib.sha256(data).hexdigest()
def need(fits, why):
    if not fits: sys.exit("DOES NOT FIT: " + why)
def signed(what, message, signature, key):
    with tempfile.TemporaryDirectory() as d:
        for name, data in (("m", message), ("s", signature), ("k", key)): open(os.path.join(d, name), "wb").write(data)
        run = ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", d + "/k", "-rawin", "-in", d + "/m", "-sigfile", d + "/s"]
        need(subprocess.run(run, capture_output=True).returncode == 0, what + ": not signed by this key")
def check(path, key=None):
    whole = open(path, "rb").read()
    box = zipfile.ZipFile(path); names = box.namelist(); got = {name: box.read(name) for name in names}
    m = json.loads(got["manifest.json"]); files = {f["name"]: f for f in m["files"]}
    for name, f in files.items(): need(name in got, name + ": missing"); need(sha(got[name]) == f["sha256"], name + ": changed")
    extra = sorted(set(names) - set(files) - {"manifest.json", "manifest.sig"}); need(not extra, "not in the manifest: " + str(extra[:1]))
    need(len(names) == len(set(names)) == len(files) + 2, "a file stands there twice"); key = open(key, "rb").read() if key else got["key.pem"]
    signed("manifest.json", got["manifest.json"], got["manifest.sig"], key); links = {}
    need(sha(whole[:-64]) == whole[-64:].decode(), "the zip around the files was changed"); chain = m.get("chain") or {}; last, n = bytes.fromhex(chain.get("previous", "")), chain.get("first", 1) - 1
    for link in map(json.loads, got["journal/links.jsonl"].splitlines() if chain else []):
        h, p, n = bytes.fromhex(link["header"]), bytes.fromhex(link["payload_sha256"]), n + 1; last = hashlib.sha256(last + h + p).digest()
        need(link["sequence"] == n == int.from_bytes(h[:8], "little") and link["hash"] == last.hex(), f"link {n}: does not follow"); links[n] = p.hex()
    for f in files.values(): need("record" not in f or links.get(f["record"]) == f["sha256"], f["name"] + ": not the record of the journal")
    if chain.get("complete"):
        body, sig = got["journal/checkpoint.txt"].decode().split("\n\n"); lines = body.split("\n")
        need(lines[1:3] == [str(n), base64.b64encode(last).decode()], "the chain does not end at the checkpoint")
        signed("checkpoint.txt", (body + "\n").encode(), base64.b64decode(sig.split()[-1])[4:], key)
    print(f"FITS: case {m['case']} of {m['site']}, {len(files)} files, {len(links)} links, key {m['key_id']}, not in it: {m['missing'] or 'nothing'}")
try: check(*sys.argv[1:3])
except Exception as error: sys.exit(f"DOES NOT FIT: {type(error).__name__}: {error}")
