use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::*;
use crate::health::{Address, Part, State, ask};

#[derive(Default)]
struct Program {
    ill: AtomicBool,
}

impl Watched for Program {
    async fn live(&self) -> Report {
        Report::new(vec![Part::good("loop")])
    }

    async fn ready(&self) -> Report {
        let part = |name: &str, state, code: &str, message: &str| Part {
            name: name.into(),
            state,
            code: code.into(),
            message: message.into(),
        };
        let old = part("age", State::Warning, "HM-SRV-0001", "old");
        let failed = part("token", State::Failed, "HM-SRV-0010", "no \"key\"");
        let is_ill = self.ill.load(Ordering::SeqCst);
        Report::new(vec![old, if is_ill { failed } else { Part::good("token") }])
    }

    async fn metrics(&self) -> String {
        "hallmark_up 1\n# EOF\n".into()
    }
}

async fn start(address: Address) -> (Address, Arc<Program>) {
    let listener = Listener::bind(address).await.unwrap();
    let (address, program) = (listener.address(), Arc::<Program>::default());
    tokio::spawn(serve(listener, Arc::clone(&program), std::future::pending()));
    (address, program)
}

async fn on_tcp() -> (SocketAddr, Arc<Program>) {
    match start(Address::Tcp(([127, 0, 0, 1], 0).into())).await {
        (Address::Tcp(address), program) => (address, program),
        (other, _) => panic!("{other}"),
    }
}

/// What comes back for these bytes: head and body.
async fn exchange(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    (head.to_owned(), body.to_owned())
}

async fn get(address: SocketAddr, path: &str) -> (String, String) {
    exchange(address, &format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")).await
}

#[tokio::test]
async fn each_path_answers_and_readiness_has_its_reasons() {
    let (address, program) = on_tcp().await;
    let (head, body) = get(address, "/ready").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(
        head.contains("content-type: application/json") && head.contains("cache-control: no-store"),
        "{head}"
    );
    assert_eq!(
        body,
        r#"{"ok":true,"parts":[{"name":"age","state":"warning","code":"HM-SRV-0001","message":"old"},{"name":"token","state":"ok"}]}"#
    );
    program.ill.store(true, Ordering::SeqCst);
    let (head, body) = get(address, "/ready").await;
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    assert!(
        body.contains(r#""ok":false"#) && body.contains(r#""code":"HM-SRV-0010","message":"no \"key\"""#),
        "{body}"
    );
    // Who is not ready lives all the same.
    assert!(get(address, "/live").await.0.starts_with("HTTP/1.1 200 "));
    let (head, body) = get(address, "/metrics?x=y").await;
    assert!(head.contains("application/openmetrics-text; version=1.0.0"), "{head}");
    assert!(body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn whatever_is_no_get_of_a_path_is_refused() {
    let (address, _) = on_tcp().await;
    assert!(get(address, "/").await.0.starts_with("HTTP/1.1 404 "));
    assert!(get(address, "/ready/").await.0.starts_with("HTTP/1.1 404 "));
    for method in ["POST", "HEAD", "DELETE", "OPTIONS"] {
        let (head, _) = exchange(
            address,
            &format!("{method} /ready HTTP/1.1\r\nHost: x\r\ncontent-length: 0\r\n\r\n"),
        )
        .await;
        assert!(
            head.starts_with("HTTP/1.1 405 ") && head.contains("allow: GET"),
            "{method}: {head}"
        );
    }
    let long = "x".repeat(2 * MOST_HEAD);
    for request in ["nonsense\r\n\r\n".to_owned(), format!("GET /{long} HTTP/1.1\r\n\r\n")] {
        let (head, _) = exchange(address, &request).await;
        assert!(head.is_empty() || head.starts_with("HTTP/1.1 4"), "{head}");
    }
    assert!(get(address, "/live").await.0.starts_with("HTTP/1.1 200 "), "it goes on");
}

#[tokio::test]
async fn connections_are_bounded_and_silent_ones_end() {
    let (address, _) = on_tcp().await;
    let mut silent = Vec::new();
    for _ in 0..MOST_CONNECTIONS {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    // One more is closed without a word.
    let mut more = TcpStream::connect(address).await.unwrap();
    assert!(matches!(more.read(&mut [0]).await, Ok(0) | Err(_)));
    // Those that say nothing give their places back.
    for stream in &mut silent {
        assert!(matches!(
            timeout(CONNECTION, stream.read(&mut [0; 64])).await.unwrap(),
            Ok(_) | Err(_)
        ));
    }
    drop(silent);
    let back = async {
        while !get_or_nothing(address).await {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(CONNECTION, back).await.unwrap();
}

async fn get_or_nothing(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut answer = Vec::new();
    let sent = stream.write_all(b"GET /live HTTP/1.1\r\nHost: x\r\n\r\n").await;
    sent.is_ok() && stream.read_to_end(&mut answer).await.is_ok() && answer.starts_with(b"HTTP/1.1 200 ")
}

#[tokio::test]
async fn a_unix_socket_is_the_users_own_and_is_asked_by_the_health_check() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path: PathBuf = folder.path().join("health.sock");
    // A dead program's socket is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let (_, program) = start(Address::Unix(path.clone())).await;
    let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let limit = Duration::from_secs(5);
    assert!(ask(&path, limit).await.unwrap().ok);
    program.ill.store(true, Ordering::SeqCst);
    let report = ask(&path, limit).await.unwrap();
    assert!(!report.ok);
    assert_eq!(report.failures(), "token FAILED HM-SRV-0010 no \"key\"");
    // A living one is left alone.
    let error = Listener::bind(Address::Unix(path.clone())).await.unwrap_err();
    assert!(
        error.to_string().ends_with(&format!("unix:{}", path.display())),
        "{error}"
    );
    assert!(ask(&path, limit).await.is_ok());
    assert!(ask(&folder.path().join("absent"), limit).await.is_err());
}
