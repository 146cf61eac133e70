use std::{
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, ReadBuf},
    net::UnixStream,
    time::timeout,
};

use super::*;
use crate::serve::socket::Socket;

const LONG: Duration = Duration::from_secs(20);
const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A server whose answers have `bytes` bytes.
async fn serve(most: usize, timeout: Option<Duration>, bytes: usize) -> (PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap().keep();
    let path = folder.join("a.sock");
    let listener = LimitedListener::new(Socket::bind(&path, None).await.unwrap(), most, timeout);
    let router = Router::new().route("/", get(move || async move { vec![b'x'; bytes] }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (path, folder)
}

/// Whether the other end closes the connection in time.
async fn is_closed(stream: &mut UnixStream) -> bool {
    let mut rest = Vec::new();
    timeout(LONG, stream.read_to_end(&mut rest)).await.is_ok()
}

async fn ask(stream: &mut UnixStream) -> String {
    stream.write_all(ASK).await.unwrap();
    let mut answer = [0; 1024];
    let read = timeout(LONG, stream.read(&mut answer)).await.expect("no answer").unwrap();
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

#[tokio::test]
async fn new_connections_evict_idle_ones() {
    let (path, folder) = serve(3, None, 1).await;
    let mut answered = UnixStream::connect(&path).await.unwrap();
    assert!(ask(&mut answered).await.starts_with("HTTP/1.1 200"));
    let mut silent = Vec::new();
    for _ in 0..40 {
        silent.push(UnixStream::connect(&path).await.unwrap());
    }
    let mut asks = UnixStream::connect(&path).await.unwrap();
    assert!(ask(&mut asks).await.starts_with("HTTP/1.1 200"));
    for stream in silent.iter_mut().take(39) {
        assert!(is_closed(stream).await, "one was not evicted");
    }
    // It has been answered: idle ones without an answer were evicted first.
    assert!(ask(&mut answered).await.starts_with("HTTP/1.1 200"));
    std::fs::remove_dir_all(folder).unwrap();
}

/// Connections from root or another user.
struct FakeSource(tokio::sync::mpsc::Receiver<(tokio::io::DuplexStream, bool)>);

struct FakeStream {
    stream: tokio::io::DuplexStream,
    root: bool,
}

impl Source for FakeSource {
    type Stream = FakeStream;

    async fn next(&mut self) -> io::Result<FakeStream> {
        let (stream, root) = self.0.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(FakeStream { stream, root })
    }

    fn name(&self) -> String {
        "a test".to_owned()
    }

    const KNOWS_ROOT: bool = true;

    fn is_root(stream: &FakeStream) -> bool {
        stream.root
    }
}

impl AsyncRead for FakeStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for FakeStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Buffer size of a stream.
const BUFFER: usize = 4096;

/// A listener with two slots, and a function that connects to it.
async fn two_slots() -> impl AsyncFn(bool) -> tokio::io::DuplexStream {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let listener = LimitedListener::new(FakeSource(receiver), 2, None);
    let router = Router::new().route("/", get(|| async { "here" }));
    tokio::spawn(async move { axum::serve(listener, router).await });
    async move |root| {
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        sender.send((theirs, root)).await.unwrap();
        ours
    }
}

/// Row 12 of the second review.
#[tokio::test]
async fn root_gets_a_slot_while_all_others_are_busy() {
    let connect = two_slots().await;
    let mut busy = [connect(false).await, connect(false).await];
    // More than there are slots, and the others are never idle.
    let _waiting = [connect(false).await, connect(false).await];
    for _ in 0..20 {
        for stream in &mut busy {
            stream.write_all(ASK).await.unwrap();
            let mut answer = [0; 1024];
            let read = timeout(LONG, stream.read(&mut answer)).await.expect("evicted");
            assert!(read.unwrap() > 0, "evicted");
        }
    }
    let mut root = connect(true).await;
    root.write_all(ASK).await.unwrap();
    let mut answer = [0; 1024];
    let answered = async {
        loop {
            tokio::select! {
                read = root.read(&mut answer) => break read.unwrap(),
                () = sleep(slots::GRACE / 10) => {}
            }
            for stream in &mut busy {
                stream.write_all(ASK).await.unwrap();
                assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0, "evicted");
            }
        }
    };
    let read = timeout(LONG, answered).await.expect("root waits for a slot");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
}

/// A request's head that does not end.
/// Row 5 of the second review.
#[tokio::test]
async fn data_before_an_answer_is_bounded_except_for_root() {
    let connect = two_slots().await;
    let mut sent = [0; 2];
    for root in [false, true] {
        let mut stream = connect(root).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ").await.unwrap();
        // hyper closes it at last: its own limit is higher.
        while let Ok(written) =
            timeout(LONG, stream.write(&[b'x'; BUFFER])).await.expect("it waits")
        {
            sent[usize::from(root)] += written;
        }
    }
    assert!(sent[0] <= MOST_UNANSWERED + BUFFER, "{} bytes", sent[0]);
    assert!(sent[1] > 2 * MOST_UNANSWERED, "{} bytes of root", sent[1]);
}

#[tokio::test]
async fn unread_answers_time_out_and_read_ones_are_complete() {
    const BYTES: usize = 1 << 20;
    const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
    let (path, folder) = serve(3, Some(ANSWER_TIMEOUT), BYTES).await;
    let mut never = UnixStream::connect(&path).await.unwrap();
    never.write_all(ASK).await.unwrap();
    let mut reads = UnixStream::connect(&path).await.unwrap();
    reads.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(LONG, reads.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.len() > BYTES);
    sleep(ANSWER_TIMEOUT * 3 / 2).await;
    let mut rest = Vec::new();
    timeout(LONG, never.read_to_end(&mut rest)).await.expect("it is not dropped").unwrap();
    assert!(!rest.is_empty() && rest.len() < BYTES, "{} bytes were kept for it", rest.len());
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_removed_socket_is_recreated() {
    let (path, folder) = serve(3, None, 1).await;
    for whole_folder in [false, true] {
        if whole_folder {
            std::fs::remove_dir_all(&folder).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        let again = async {
            loop {
                if let Ok(stream) = UnixStream::connect(&path).await {
                    break stream;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let mut stream = timeout(LONG, again).await.expect("it was not recreated");
        assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    std::fs::remove_dir_all(folder).unwrap();
}
