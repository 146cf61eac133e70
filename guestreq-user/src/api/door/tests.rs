use std::path::PathBuf;

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    time::timeout,
};

use super::*;
use crate::api::socket::Socket;

const LONG: Duration = Duration::from_secs(20);
const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A server that answers with so many bytes.
async fn serve(most: usize, patience: Option<Duration>, bytes: usize) -> (PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap().keep();
    let path = folder.join("a.sock");
    let door = Door::new(Socket::bind(&path, None).await.unwrap(), most, patience);
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
        assert!(is_closed(stream).await, "one of them has kept its place");
    }
    // They have been answered: those who never asked leave first.
    assert!(ask(&mut answered).await.starts_with("HTTP/1.1 200"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_dropped_and_one_that_is_read_is_whole() {
    const BYTES: usize = 1 << 20;
    const PATIENCE: Duration = Duration::from_secs(2);
    let (path, folder) = serve(3, Some(PATIENCE), BYTES).await;
    let mut never = UnixStream::connect(&path).await.unwrap();
    never.write_all(ASK).await.unwrap();
    let mut reads = UnixStream::connect(&path).await.unwrap();
    reads.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(LONG, reads.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.len() > BYTES);
    sleep(PATIENCE * 3 / 2).await;
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
