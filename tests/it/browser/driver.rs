//! Chromium, driven through chromedriver (WebDriver, W3C, and its commands for Chromium's own protocol).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _};

/// How long a condition may take to come true in a page.
const PATIENCE_MS: u64 = 60_000;

/// Pictures that the documents show.
const DOCUMENTED: [&str; 3] = ["overview", "pair", "fabric"];

/// A browser with one window.
pub(crate) struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    profile: tempfile::TempDir,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser outlives a driver that is killed: the session has to end first. Failures are of no use to a test that
        // is over.
        let _ = end_session(self.address, &self.session);
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// Asks for the end of a session, and with it of its browser; waits for the answer, which comes when it has ended.
fn end_session(driver: SocketAddr, session: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(driver)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(
        stream,
        "DELETE /session/{session} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
    )?;
    stream.read_exact(&mut [0])
}

fn spawn_driver() -> (Child, SocketAddr) {
    let mut driver = Command::new("chromedriver")
        .arg("--port=0")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("chromedriver is there (Debian: chromium-driver)");
    let lines = BufReader::new(driver.stdout.take().expect("piped")).lines();
    let port = lines
        .map_while(Result::ok)
        .find_map(|line| {
            line.split("successfully on port ")
                .nth(1)?
                .trim_end_matches('.')
                .parse()
                .ok()
        })
        .expect("chromedriver says its port");
    (driver, SocketAddr::from(([127, 0, 0, 1], port)))
}

impl Browser {
    pub(crate) async fn start() -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let (driver, address) = spawn_driver();
        let mut browser = Self {
            driver,
            address,
            session: String::new(),
            profile,
        };
        let data = format!("--user-data-dir={}", browser.profile.path().display());
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": [
                "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars", data,
            ]},
        }}});
        let answer = browser.send("POST", "/session", &capabilities).await;
        answer["sessionId"]
            .as_str()
            .expect("a session")
            .clone_into(&mut browser.session);
        let timeouts = json!({ "script": PATIENCE_MS, "pageLoad": PATIENCE_MS });
        browser.command("POST", "/timeouts", &timeouts).await;
        browser.screen(1280, 860, false).await;
        browser
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = tokio::net::TcpStream::connect(self.address)
            .await
            .expect("chromedriver answers");
        let body = if method == "GET" {
            String::new()
        } else {
            body.to_string()
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.expect("request");
        // chromedriver keeps the connection open whatever is asked for.
        let mut reader = tokio::io::BufReader::new(stream);
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).await.expect("a head");
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).await.expect("a body");
        let text = String::from_utf8_lossy(&body);
        let body = &*text;
        let answer: Value =
            serde_json::from_str(body).unwrap_or_else(|error| panic!("{path}: {error}: {text}"));
        let value = answer["value"].clone();
        assert!(
            value["error"].is_null(),
            "{method} {path}: {}",
            value["message"]
        );
        value
    }

    async fn command(&self, method: &str, path: &str, body: &Value) -> Value {
        self.send(method, &format!("/session/{}{path}", self.session), body)
            .await
    }

    async fn devtools(&self, name: &str, parameters: Value) {
        self.command(
            "POST",
            "/goog/cdp/execute",
            &json!({ "cmd": name, "params": parameters }),
        )
        .await;
    }

    /// Opens an address and waits for the page to be loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.command("POST", "/url", &json!({ "url": url })).await;
    }

    /// The size of the screen, in CSS pixels.
    pub(crate) async fn screen(&self, width: u32, height: u32, mobile: bool) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile });
        self.devtools("Emulation.setDeviceMetricsOverride", metrics)
            .await;
    }

    /// Whether the user prefers dark pages.
    pub(crate) async fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let media = json!({ "features": [{ "name": "prefers-color-scheme", "value": value }] });
        self.devtools("Emulation.setEmulatedMedia", media).await;
    }

    /// The value of an expression in the page.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        let script = json!({ "script": format!("return ({expression});"), "args": [] });
        self.command("POST", "/execute/sync", &script).await
    }

    /// Runs a script in each page that is opened from now on, before the page's own scripts. The page's policy does not apply to it.
    pub(crate) async fn run_in_each_page(&self, script: &str) {
        self.devtools(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({ "source": script }),
        )
        .await;
    }

    /// What a promise in the page resolves to; panics if it is rejected.
    pub(crate) async fn resolved(&self, promise: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             ({promise}).then(value => done({{ value }}), error => done({{ error: String(error) }}));"
        );
        let body = json!({ "script": script, "args": [] });
        let answer = self.command("POST", "/execute/async", &body).await;
        assert!(answer["error"].is_null(), "{promise}: {}", answer["error"]);
        answer["value"].clone()
    }

    /// Waits until an expression is true; the page's own frames are the clock. Survives that the page is loaded anew.
    pub(crate) async fn wait_for(&self, expression: &str) {
        let script = format!(
            "const done = arguments[arguments.length - 1]; const end = performance.now() + {PATIENCE_MS} - 2000;
             (function look() {{
               let is = false;
               try {{ is = Boolean({expression}); }} catch {{ is = false; }}
               if (is || performance.now() > end) done(is); else setTimeout(look, 50);
             }})();"
        );
        let is = self
            .command(
                "POST",
                "/execute/async",
                &json!({ "script": script, "args": [] }),
            )
            .await;
        if is != true {
            let text = self.value("document.body.innerText").await;
            panic!(
                "never came true: {expression}\n{}",
                text.as_str().unwrap_or_default()
            );
        }
    }

    /// Clicks on the first element that a CSS selector finds, as a user does.
    pub(crate) async fn click(&self, selector: &str) {
        let find = json!({ "using": "css selector", "value": selector });
        let element = self.command("POST", "/element", &find).await;
        let id = element
            .as_object()
            .and_then(|element| element.values().next())
            .and_then(Value::as_str);
        let path = format!("/element/{}/click", id.expect("an element"));
        self.command("POST", &path, &json!({})).await;
    }

    /// Presses keys one after the other, with WebDriver's code points for those without a character.
    pub(crate) async fn press(&self, keys: &[&str]) {
        let actions: Vec<Value> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        let body = json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] });
        self.command("POST", "/actions", &body).await;
    }

    /// What the page wrote to the console since the last call.
    pub(crate) async fn console(&self) -> Vec<String> {
        let entries = self
            .command("POST", "/se/log", &json!({ "type": "browser" }))
            .await;
        let entries = entries.as_array().cloned().unwrap_or_default();
        entries
            .iter()
            .map(|entry| {
                format!(
                    "{} {}",
                    entry["level"].as_str().unwrap_or_default(),
                    entry["message"].as_str().unwrap_or_default()
                )
            })
            .collect()
    }

    /// Keeps a picture of the window in target/screenshots, and beside the documents if that is asked for.
    pub(crate) async fn picture(&self, name: &str) {
        let data = self.command("GET", "/screenshot", &Value::Null).await;
        let png = base64::engine::general_purpose::STANDARD
            .decode(data.as_str().expect("a picture"))
            .expect("base64");
        let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
        let mut folders = vec![root.join("target/screenshots")];
        if DOCUMENTED.contains(&name) && std::env::var_os("RPINGMESH_DOC_IMAGES").is_some() {
            assert!(
                png.len() < 150_000,
                "{name}: {} bytes are too many for the repository",
                png.len()
            );
            folders.push(root.join("docs/images"));
        }
        for folder in folders {
            std::fs::create_dir_all(&folder).expect("a folder");
            std::fs::write(folder.join(format!("{name}.png")), &png).expect("a file");
        }
    }
}

/// WebDriver's code points of keys.
pub(crate) mod key {
    pub(crate) const ENTER: &str = "\u{e007}";
    pub(crate) const DOWN: &str = "\u{e015}";
    pub(crate) const RIGHT: &str = "\u{e014}";
    pub(crate) const END: &str = "\u{e010}";
    pub(crate) const TAB: &str = "\u{e004}";
}
