//! What the socket tests share: the real binary on free ports, a plain MLLP client, a plain HTTP reader, messages.
#![allow(dead_code)]

#[path = "port.rs"]
mod port;

pub use port::free_port;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; generous, since the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The development data beside the project, if it is there; says so when it is not.
pub fn shared(folder: &str) -> Option<PathBuf> {
    let root =
        std::env::var_os("VG_TEST_SHARED").map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let path = root.join(folder);
    if path.is_dir() {
        return Some(path);
    }
    println!("not there, this part of the test did not run: {}", path.display());
    None
}

/// Runs the program, without what the machine configures, to its end.
pub fn program(arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vitalguard"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("VITALGUARD_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null()).output().expect("the program was built")
}

/// What was written, as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Every file below a folder whose name ends so, in order.
pub fn files_below(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("readable").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_below(&path, ending));
        } else if path.extension().is_some_and(|e| e == ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// `vitalguard serve` as a child process.
pub struct Served {
    pub child: Child,
    pub mllp: SocketAddr,
    pub mqtt: Option<SocketAddr>,
    pub http: SocketAddr,
    pub log: Arc<Mutex<String>>,
}

impl Served {
    /// Starts it on free ports with a data folder and further arguments.
    pub fn start(data: &Path, arguments: &[&str]) -> Served {
        Self::start_with(data, arguments, &[])
    }

    /// The same with environment variables.
    pub fn start_with(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Served {
        let mllp = ["--mllp", "127.0.0.1:0"];
        Self::start_full(data, &[&mllp[..], arguments].concat(), environment)
    }

    /// Without an MLLP listener: what the configuration says of feeds is all there is.
    pub fn start_quiet(data: &Path, arguments: &[&str]) -> Served {
        Self::start_full(data, arguments, &[])
    }

    fn start_full(data: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Served {
        let listens = arguments.contains(&"--mllp");
        let mut command = Command::new(env!("CARGO_BIN_EXE_vitalguard"));
        command.arg("serve").arg("--data").arg(data).args(["--http", "127.0.0.1:0"]);
        if !arguments.iter().any(|a| a.starts_with("--mqtt")) {
            command.args(["--mqtt-listen", "127.0.0.1:0"]);
        }
        command.args(arguments).envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary was built by cargo");
        let log = Arc::new(Mutex::new(String::new()));
        for stream in [
            Box::new(child.stderr.take().expect("piped")) as Box<dyn Read + Send>,
            Box::new(child.stdout.take().expect("piped")) as Box<dyn Read + Send>,
        ] {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let mut log = log.lock().unwrap();
                    log.push_str(&line);
                    log.push('\n');
                }
            });
        }
        let mut served = Served { child, mllp: ([0, 0, 0, 0], 0).into(), mqtt: None, http: ([0, 0, 0, 0], 0).into(), log };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let text = served.log.lock().unwrap().clone();
            let address = |what: &str| {
                text.lines()
                    .find(|l| l.starts_with(&format!("listening {what} ")))
                    .and_then(|l| l.split(' ').nth(2))
                    .and_then(|a| a.parse::<SocketAddr>().ok())
            };
            let mllp = address("mllp").or_else(|| (!listens).then_some(served.mllp));
            if let (Some(mllp), Some(http)) = (mllp, address("http")) {
                served.mllp = mllp;
                served.http = http;
                served.mqtt = address("mqtt");
                return served;
            }
            if let Ok(Some(status)) = served.child.try_wait() {
                std::thread::sleep(Duration::from_millis(100));
                panic!("serve ended with {status}:\n{}", served.log.lock().unwrap());
            }
            assert!(Instant::now() < deadline, "serve did not start:\n{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM and the exit status.
    pub fn terminate(&mut self) -> std::process::ExitStatus {
        signal(self.child.id(), "TERM");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < deadline, "SIGTERM did not end it:\n{}", self.log.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// A GET on its HTTP side: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        http_get(self.http, path)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill is there");
    assert!(status.success());
}

/// One HTTP/1.1 GET.
pub fn http_get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).expect("HTTP side listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").expect("an HTTP answer");
    let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") { unchunk(body) } else { body.to_owned() };
    (status, body)
}

fn unchunk(mut body: &str) -> String {
    let mut out = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let Ok(size) = usize::from_str_radix(size.trim(), 16) else { break };
        if size == 0 || rest.len() < size {
            break;
        }
        out.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").unwrap_or(&rest[size..]);
    }
    out
}

/// A plain MLLP client: sends frames, reads frames.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&address, PATIENCE).expect("MLLP side listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Client { stream, buffer: Vec::new() }
    }
    pub fn send(&mut self, payload: &[u8]) -> std::io::Result<()> {
        let mut frame = Vec::with_capacity(payload.len() + 3);
        frame.push(0x0B);
        frame.extend_from_slice(payload);
        frame.extend_from_slice(&[0x1C, 0x0D]);
        self.stream.write_all(&frame)
    }
    /// The next frame; an error when the peer is gone or nothing came in time.
    pub fn receive(&mut self) -> std::io::Result<Vec<u8>> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|w| w == [0x1C, 0x0D]) {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Ok(frame[1..frame.len() - 2].to_vec());
            }
            let mut chunk = [0; 65536];
            let n = self.stream.read(&mut chunk)?;
            if n == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            self.buffer.extend_from_slice(&chunk[..n]);
        }
    }
    /// Sends and gives MSA-1 and MSA-2 of the answer.
    pub fn ask(&mut self, payload: &[u8]) -> std::io::Result<(String, String)> {
        self.send(payload)?;
        Ok(msa(&self.receive()?))
    }
}

/// MSA-1 and MSA-2 of an acknowledgement with ordinary delimiters.
pub fn msa(ack: &[u8]) -> (String, String) {
    let text = String::from_utf8_lossy(ack);
    let msa = text.split('\r').find(|s| s.starts_with("MSA")).unwrap_or_default();
    let mut fields = msa.split('|').skip(1);
    (fields.next().unwrap_or_default().to_owned(), fields.next().unwrap_or_default().to_owned())
}

/// One IHE PCD-01 message: bed `bed` of ward `ward`, values by (code, name, value, unit).
pub fn pcd01(application: &str, ward: &str, bed: &str, id: &str, at: &str, values: &[(&str, &str, &str)]) -> Vec<u8> {
    let mut text = format!(
        "MSH|^~\\&|{application}^00A0370000{bed}^EUI-64|HOSP|VG|HOSP|{at}+0000||ORU^R01^ORU_R01|{id}|P|2.6|||AL|NE|||||IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r\
         PID|||P-{bed}^^^HOSP^MR||Invented^{bed}||19500101|F\r\
         PV1||I|{ward}^^{bed}\r\
         OBR|1|||182777000^monitoring of patient^SCT|||{at}+0000\r"
    );
    for (n, (code, value, unit)) in values.iter().enumerate() {
        let number = code.split('^').next().unwrap_or_default();
        text.push_str(&format!("OBX|{}|NM|{code}^MDC|1.1.1.{number}|{value}|{unit}^MDC|||||R|||{at}+0000\r", n + 1));
    }
    text.into_bytes()
}

pub const HR: &str = "147842^MDC_ECG_HEART_RATE";
pub const PR: &str = "149530^MDC_PULS_OXIM_PULS_RATE";
pub const SPO2: &str = "150456^MDC_PULS_OXIM_SAT_O2";
pub const RR: &str = "151562^MDC_RESP_RATE";
pub const BPM: &str = "264864^MDC_DIM_BEAT_PER_MIN";
pub const RPM: &str = "264928^MDC_DIM_RESP_PER_MIN";
pub const PERCENT: &str = "262688^MDC_DIM_PERCENT";

/// Now as `YYYYMMDDhhmmss.mmm` in UTC.
pub fn now_hl7() -> String {
    jiff::Timestamp::now().strftime("%Y%m%d%H%M%S%.3f").to_string()
}

/// Waits until `condition` gives something.
pub fn wait_for<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A mosquitto of our own on a free port.
pub struct Mosquitto {
    child: Child,
    pub port: u16,
    folder: tempfile::TempDir,
}

impl Mosquitto {
    pub fn start(extra: &str) -> Mosquitto {
        let port = free_port();
        Self::start_on(port, extra)
    }
    pub fn start_on(port: u16, extra: &str) -> Mosquitto {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("mosquitto.conf");
        std::fs::write(&config, format!("user root\nlistener {port} 127.0.0.1\nallow_anonymous true\n{extra}\n")).unwrap();
        let child = Command::new("mosquitto")
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is installed (./test installs it)");
        wait_for("mosquitto", || TcpStream::connect(("127.0.0.1", port)).ok());
        Mosquitto { child, port, folder }
    }
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        self.kill();
        let _ = &self.folder;
    }
}

/// `mosquitto_sub` collecting `topic payload` lines.
pub struct Subscriber {
    child: Child,
    pub lines: Arc<Mutex<Vec<(String, String)>>>,
}

impl Subscriber {
    pub fn start(port: u16, filters: &[&str], extra: &[&str]) -> Subscriber {
        let mut command = Command::new("mosquitto_sub");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-q", "1", "-v"]).args(extra);
        for filter in filters {
            command.args(["-t", filter]);
        }
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto_sub is installed (./test installs it)");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let out = child.stdout.take().expect("piped");
        let sink = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let (topic, payload) = line.split_once(' ').unwrap_or((&line, ""));
                sink.lock().unwrap().push((topic.to_owned(), payload.to_owned()));
            }
        });
        Subscriber { child, lines }
    }
    /// All payloads so far whose topic contains `part`, as JSON.
    pub fn payloads(&self, part: &str) -> Vec<serde_json::Value> {
        self.lines
            .lock()
            .unwrap()
            .iter()
            .filter(|(topic, _)| topic.contains(part))
            .filter_map(|(_, payload)| serde_json::from_str(payload).ok())
            .collect()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Checks a document against a schema: the words that ours use (no formats, no patterns). Complaints go to `found`.
pub fn validate(
    schema: &serde_json::Value,
    root: &serde_json::Value,
    value: &serde_json::Value,
    at: &str,
    found: &mut Vec<String>,
) {
    if let Some(name) = schema["$ref"].as_str() {
        return validate(&root["$defs"][name.trim_start_matches("#/$defs/")], root, value, at, found);
    }
    if !schema["const"].is_null() && schema["const"] != *value {
        found.push(format!("{at}: {value} is not {}", schema["const"]));
    }
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.contains(value)) {
        found.push(format!("{at}: {value} is none of {words:?}"));
    }
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        _ => value.is_null(),
    };
    let kinds: Vec<&str> = match &schema["type"] {
        serde_json::Value::Array(kinds) => kinds.iter().filter_map(|kind| kind.as_str()).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    if !kinds.is_empty() && !kinds.iter().any(|kind| is(kind)) {
        found.push(format!("{at}: {value} is no {kinds:?}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(|name| name.as_str()) {
        if value.get(name).is_none() {
            found.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, inner) in value.as_object().into_iter().flatten() {
        let at = format!("{at}/{name}");
        match (&schema["properties"][name], &schema["additionalProperties"]) {
            (serde_json::Value::Null, serde_json::Value::Bool(false)) => found.push(format!("{at}: not in the schema")),
            (serde_json::Value::Null, other @ serde_json::Value::Object(_)) => validate(other, root, inner, &at, found),
            (known, _) => validate(known, root, inner, &at, found),
        }
    }
    for (number, inner) in value.as_array().into_iter().flatten().enumerate() {
        validate(&schema["items"], root, inner, &format!("{at}/{number}"), found);
    }
}
