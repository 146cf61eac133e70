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

/// A server that answers with so many bytes.
async fn serve(most: usize, timeout: Option<Duration>, bytes: usize) -> (PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap().keep();
    let path = folder.join("a.sock");
    let door = LimitedListener::new(Socket::bind(&path, None).await.unwrap(), most, timeout);
    let router = Router::new().route("/", get(move || async move { vec![b'x'; bytes] }));
    tokio::spawn(async move { axum::serve(door, router).await });
    (path, folder)
}

/// Whether the other end closes the connection, at the latest after a long time.
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
async fn who_is_silent_leaves_for_who_comes() {
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
        assert!(is_closed(stream).await, "one of them has kept its slot");
    }
    // They have been answered: those who never asked leave first.
    assert!(ask(&mut answered).await.starts_with("HTTP/1.1 200"));
    std::fs::remove_dir_all(folder).unwrap();
}

/// Who says that they are root, or somebody else.
struct Sayings(tokio::sync::mpsc::Receiver<(tokio::io::DuplexStream, bool)>);

struct Saying {
    stream: tokio::io::DuplexStream,
    root: bool,
}

impl Source for Sayings {
    type Stream = Saying;

    async fn next(&mut self) -> io::Result<Saying> {
        let (stream, root) = self.0.recv().await.ok_or(io::ErrorKind::BrokenPipe)?;
        Ok(Saying { stream, root })
    }

    fn name(&self) -> String {
        "a test".to_owned()
    }

    const TELLS_ROOT: bool = true;

    fn is_root(saying: &Saying) -> bool {
        saying.root
    }
}

impl AsyncRead for Saying {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Saying {
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

/// What is on its way in a stream.
const HOLDS: usize = 4096;

/// A door of two slots, and how one comes to it.
async fn two_places() -> impl AsyncFn(bool) -> tokio::io::DuplexStream {
    let (comes, who) = tokio::sync::mpsc::channel(1);
    let door = LimitedListener::new(Sayings(who), 2, None);
    let router = Router::new().route("/", get(|| async { "here" }));
    tokio::spawn(async move { axum::serve(door, router).await });
    async move |root| {
        let (ours, theirs) = tokio::io::duplex(HOLDS);
        comes.send((theirs, root)).await.unwrap();
        ours
    }
}

/// Row 12 of the second review, one step before events.
#[tokio::test]
async fn root_has_a_place_however_busy_all_the_others_are() {
    let come = two_places().await;
    let mut busy = [come(false).await, come(false).await];
    // More than there are slots, and who has one is never silent.
    let _waiting = [come(false).await, come(false).await];
    for _ in 0..20 {
        for stream in &mut busy {
            stream.write_all(ASK).await.unwrap();
            let mut answer = [0; 1024];
            let read = timeout(LONG, stream.read(&mut answer)).await.expect("sent away");
            assert!(read.unwrap() > 0, "sent away");
        }
    }
    let mut root = come(true).await;
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
                assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0, "sent away");
            }
        }
    };
    let read = timeout(LONG, answered).await.expect("root waits for a slot");
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
}

/// Row 5: a head that does not end is as large as whoever sends it wants.
#[tokio::test]
async fn who_is_not_answered_yet_says_a_bounded_amount_unless_it_is_root() {
    let come = two_places().await;
    let mut said = [0; 2];
    for root in [false, true] {
        let mut stream = come(root).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX-Long: ").await.unwrap();
        // Closed at last: what is no request in so many bytes is none for hyper, either.
        while let Ok(written) = timeout(LONG, stream.write(&[b'x'; HOLDS])).await.expect("it waits")
        {
            said[usize::from(root)] += written;
        }
    }
    assert!(said[0] <= MOST_UNANSWERED + HOLDS, "{} bytes", said[0]);
    assert!(said[1] > 2 * MOST_UNANSWERED, "{} bytes of root", said[1]);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_dropped_and_one_that_is_read_is_whole() {
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
async fn a_socket_that_was_removed_is_made_anew() {
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
        let mut stream = timeout(LONG, again).await.expect("it is gone for good");
        assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
    }
    std::fs::remove_dir_all(folder).unwrap();
}
