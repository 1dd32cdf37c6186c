//! A headless Chromium, driven over the pipe of its DevTools protocol: what a person's browser
//! does with a page, without a driver in between.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAMS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const MESSAGES_MAX: usize = 10_000;

// Descriptors 3 and 4 are where Chromium reads commands and writes answers; when they are closed,
// because the test has ended in whatever way, it ends too.
const SCRIPT: &str = r#"exec "$@" 3<&0 4>&1 </dev/null >/dev/null 2>&1"#;

/// A browser with one page.
#[derive(Debug)]
pub struct Chromium {
    child: Child,
    commands: ChildStdin,
    messages: Receiver<Value>,
    session: Option<String>,
    calls: u64,
    complaints: Vec<String>,
    /// Bytes on the wire, by the path they came from.
    received: HashMap<String, u64>,
    requests: HashMap<String, String>,
    _profile: TempDir,
}

impl Chromium {
    /// Starts it; none, with a word to whoever runs the tests, where there is no Chromium.
    /// `WEIR_CHROMIUM` names one that must be there.
    ///
    /// # Panics
    /// If it is there and does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// The same with arguments of its own.
    ///
    /// # Panics
    /// If it is there and does not start.
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Option<Self> {
        let Some(program) = program() else {
            // Not by a macro, whose words would be kept back from a test that passes.
            let _ = writeln!(
                std::io::stderr(),
                "SKIPPED: what browsers do is not tested, because there is no chromium here; install it, or name one by WEIR_CHROMIUM"
            );
            return None;
        };
        let profile = tempfile::tempdir().expect("a temporary folder");
        let mut child = Command::new("sh")
            .args(["-c", SCRIPT, "chromium"])
            .arg(&program)
            .args(["--headless", "--remote-debugging-pipe", "--hide-scrollbars"])
            // CI runs as root, where Chromium's sandbox does not start; it sees loopback alone.
            .args(["--no-sandbox", "--disable-dev-shm-usage", "--no-first-run"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args(["--lang=en-US", "--force-color-profile=srgb"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(arguments)
            .arg("about:blank")
            // Figures and days are written as the browser's language has them.
            .env("LANGUAGE", "en_US")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let commands = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        let (sender, messages) = sync_channel(MESSAGES_MAX);
        std::thread::spawn(move || {
            for message in BufReader::new(stdout).split(0) {
                let Ok(message) = message else { return };
                let Ok(message) = serde_json::from_slice(&message) else {
                    return;
                };
                if sender.send(message).is_err() {
                    return;
                }
            }
        });
        let mut chromium = Self {
            child,
            commands,
            messages,
            session: None,
            calls: 0,
            complaints: Vec::new(),
            received: HashMap::new(),
            requests: HashMap::new(),
            _profile: profile,
        };
        let target = chromium.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let session = chromium.call("Target.attachToTarget", attach);
        chromium.session = session["sessionId"].as_str().map(str::to_owned);
        for domain in ["Page", "Runtime", "Log", "Network"] {
            chromium.call(&format!("{domain}.enable"), json!({}));
        }
        chromium.screen(1440, 900);
        Some(chromium)
    }

    /// Goes to an address and waits until all of the page is there.
    ///
    /// # Panics
    /// If it cannot be loaded.
    pub fn open(&mut self, url: &str) {
        let opened = self.call("Page.navigate", json!({"url": url}));
        assert!(opened.get("errorText").is_none(), "{url}: {opened}");
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'");
    }

    /// The size of the screen; a narrow one is a phone's.
    pub fn screen(&mut self, width: u32, height: u32) {
        let mobile = width < 600;
        self.call(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}),
        );
    }

    /// Whether the system asks for dark colours.
    pub fn dark(&mut self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": value}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// The value of an expression in the page.
    ///
    /// # Panics
    /// If it throws.
    pub fn value(&mut self, expression: &str) -> Value {
        let asked = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let answer = self.call("Runtime.evaluate", asked);
        let thrown = answer.get("exceptionDetails");
        assert!(thrown.is_none(), "{expression}: {thrown:?}");
        answer["result"]["value"].clone()
    }

    /// The text of the first element that fits, as it is written in the document.
    pub fn text(&mut self, selector: &str) -> String {
        let found = self.value(&format!(
            "document.querySelector({selector:?})?.textContent"
        ));
        found.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// If it does not become so in a minute; with the text of the page.
    pub fn until(&mut self, expression: &str) {
        let give_up_at = Instant::now() + GIVE_UP_AFTER;
        loop {
            // Throws while a page is on its way to the next.
            let tried = format!(
                "(() => {{ try {{ return Boolean({expression}) }} catch {{ return false }} }})()"
            );
            if self.value(&tried) == json!(true) {
                return;
            }
            if Instant::now() >= give_up_at {
                let text = self.value("location.href + '\\n' + document.body.innerText");
                panic!(
                    "{expression} is not true after {GIVE_UP_AFTER:?}; {:?}; {text}",
                    self.complaints
                );
            }
            std::thread::sleep(POLL);
        }
    }

    /// Waits until the first element that fits reads so.
    ///
    /// # Panics
    /// If it does not in a minute.
    pub fn reads(&mut self, selector: &str, text: &str) {
        self.until(&format!(
            "document.querySelector({selector:?}).textContent === {text:?}"
        ));
    }

    /// Clicks on the middle of the first element that fits, as a mouse does: once it is there, and
    /// what comes above it no longer moves it.
    ///
    /// # Panics
    /// If there is none in a minute, or it does not come to rest in another.
    pub fn click(&mut self, selector: &str) {
        self.until(&format!("document.querySelector({selector:?})"));
        let give_up_at = Instant::now() + GIVE_UP_AFTER;
        let mut at = Value::Null;
        loop {
            assert!(
                Instant::now() < give_up_at,
                "{selector} does not stay where it is"
            );
            let now = self.value(&format!(
                "(() => {{ const found = document.querySelector({selector:?}); if (!found) return null; found.scrollIntoView({{block: 'center', behavior: 'instant'}}); const box = found.getBoundingClientRect(); return [box.x + box.width / 2, box.y + box.height / 2]; }})()"
            ));
            if now.is_array() && now == at {
                break;
            }
            at = now;
            std::thread::sleep(POLL);
        }
        for kind in ["mouseMoved", "mousePressed", "mouseReleased"] {
            self.call(
                "Input.dispatchMouseEvent",
                json!({"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1}),
            );
        }
    }

    /// Presses a key by its name, such as `Tab` or `ArrowDown`.
    pub fn press(&mut self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            "Escape" => 27,
            "End" => 35,
            "Home" => 36,
            "ArrowLeft" => 37,
            "ArrowRight" => 39,
            "ArrowDown" => 40,
            _ => 0,
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let mut event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code});
            if kind == "keyDown" && !text.is_empty() {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event);
        }
    }

    /// Types text where the focus is.
    pub fn write(&mut self, text: &str) {
        self.call("Input.insertText", json!({"text": text}));
    }

    /// What the page and the browser have complained about so far: exceptions, errors on the
    /// console, requests that failed, breaches of the page's policy.
    pub fn complaints(&mut self) -> Vec<String> {
        // An answer comes after everything that happened before its question.
        self.value("0");
        std::mem::take(&mut self.complaints)
    }

    /// Bytes on the wire from paths that begin so, packed as they came, headers included.
    pub fn received_bytes(&mut self, path: &str) -> u64 {
        self.value("0");
        let fitting = self
            .received
            .iter()
            .filter(|(from, _)| from.starts_with(path));
        fitting.map(|(_, bytes)| bytes).sum()
    }

    /// A command of the DevTools protocol and its answer.
    ///
    /// # Panics
    /// If it is refused or not answered.
    pub fn call(&mut self, method: &str, parameters: Value) -> Value {
        self.calls += 1;
        let id = self.calls;
        let mut command = json!({"id": id, "method": method, "params": parameters});
        if let Some(session) = &self.session {
            command["sessionId"] = json!(session);
        }
        let mut bytes = command.to_string().into_bytes();
        bytes.push(0);
        self.commands
            .write_all(&bytes)
            .and_then(|()| self.commands.flush())
            .expect("Chromium takes commands");
        let give_up_at = Instant::now() + ANSWER_WITHIN;
        loop {
            let left = give_up_at.saturating_duration_since(Instant::now());
            match self.messages.recv_timeout(left) {
                Ok(message) if message["id"] == id => {
                    assert!(message.get("error").is_none(), "{method}: {message}");
                    return message["result"].clone();
                }
                Ok(message) => self.note(&message),
                Err(RecvTimeoutError::Timeout) => panic!("{method} is not answered"),
                Err(RecvTimeoutError::Disconnected) => panic!("Chromium ended before {method}"),
            }
        }
    }

    fn note(&mut self, message: &Value) {
        let what = &message["params"];
        let written = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match message["method"].as_str() {
            Some("Runtime.exceptionThrown") => self.complaints.push(what.to_string()),
            Some("Runtime.consoleAPICalled") if what["type"] == "error" => {
                self.complaints.push(what["args"].to_string());
            }
            Some("Log.entryAdded") if what["entry"]["level"] == "error" => {
                let entry = &what["entry"];
                let said = format!("{} {}", written(&entry["text"]), written(&entry["url"]));
                self.complaints.push(said);
            }
            Some("Network.requestWillBeSent") => {
                let url = written(&what["request"]["url"]);
                let path = url.splitn(4, '/').nth(3).unwrap_or_default();
                let request = written(&what["requestId"]);
                self.requests.insert(request, format!("/{path}"));
            }
            Some("Network.loadingFinished") => {
                if let Some(path) = self.requests.get(&written(&what["requestId"])) {
                    let bytes = what["encodedDataLength"].as_f64().unwrap_or_default() as u64;
                    *self.received.entry(path.clone()).or_default() += bytes;
                }
            }
            _ => {}
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // The shell has become Chromium, whose own children end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn program() -> Option<PathBuf> {
    if let Some(named) = crate::environment::text("WEIR_CHROMIUM") {
        let named = PathBuf::from(named);
        assert!(named.exists(), "WEIR_CHROMIUM={named:?} is not there");
        return Some(named);
    }
    let folders = crate::environment::text("PATH")?;
    std::env::split_paths(&folders)
        .flat_map(|folder| PROGRAMS.map(|program| folder.join(program)))
        .find(|program| program.is_file())
}
