use std::{
    convert::Infallible,
    pin::pin,
    sync::atomic::{AtomicUsize, Ordering},
    task::Poll,
};

use axum::{Router, body, http::Method};
use futures_util::{FutureExt as _, future::join_all, stream};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use super::*;
use crate::{agent::shared::Shared, config::Config, serve::server};

fn agent() -> Router {
    server::private(Shared::new(&Config::default(), "a test"))
}

/// A change of root's or of somebody else's, whose body never ends; each time that it is asked for
/// more is counted.
fn change(uid: u32, length: usize, asked: &Arc<AtomicUsize>) -> Request {
    let asked = Arc::clone(asked);
    let body = stream::poll_fn(move |_| {
        asked.fetch_add(1, Ordering::Relaxed);
        Poll::<Option<Result<Bytes, Infallible>>>::Pending
    });
    let mut request = Request::new(body::Body::from_stream(body));
    *request.method_mut() = Method::PUT;
    *request.uri_mut() = "/v1/policy".parse().unwrap();
    request.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    request.extensions_mut().insert(ConnectInfo(Peer { uid: Some(uid) }));
    request
}

/// Row 5 of the second review.
#[tokio::test]
async fn what_is_refused_is_refused_before_it_is_read() {
    let asked = Arc::default();
    for (uid, length, status) in [
        (1000, 20, StatusCode::FORBIDDEN),
        (1000, LONGEST + 1, StatusCode::FORBIDDEN),
        (0, LONGEST + 1, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let service = TowerToHyperService::new(agent());
        let answer = service.call(change(uid, length, &asked)).now_or_never();
        let answer = answer.expect("it waits for the body").unwrap();
        assert_eq!(answer.status(), status);
        let said = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(std::str::from_utf8(&said).unwrap().contains("error"), "{said:?}");
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0, "a body was read");
}

/// Row 5: no more than 16 MiB of them, however many come.
#[tokio::test]
async fn so_many_bodies_are_read_at_a_time_and_one_that_does_not_come_makes_room() {
    const { assert!(AT_A_TIME * LONGEST <= 16 << 20) };
    let bodies = Bodies::new(Duration::from_millis(300));
    let read = async |mut request: Request| {
        request.extensions_mut().insert(bodies.clone());
        Body::from_request(request, &()).await
    };
    let asked: Vec<Arc<AtomicUsize>> = (0..100).map(|_| Arc::default()).collect();
    let all: Vec<_> = asked.iter().map(|asked| Box::pin(read(change(0, LONGEST, asked)))).collect();
    let read_at_all = || asked.iter().filter(|asked| asked.load(Ordering::Relaxed) > 0).count();
    let mut all = join_all(all);
    assert!(pin!(&mut all).now_or_never().is_none());
    assert_eq!(read_at_all(), AT_A_TIME);
    for refused in all.await {
        let status = refused.err().expect("it never ends").status();
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    }
    let mut request = change(0, 2, &Arc::default());
    *request.body_mut() = body::Body::from("{}");
    assert_eq!(read(request).await.unwrap_or_else(|_| panic!("no room")).bytes, "{}");
}
