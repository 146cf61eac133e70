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
use crate::{config::Config, serve::server, state::shared::Shared};

fn agent() -> Router {
    server::private(Shared::new(&Config::default(), "a test"))
}

/// A change whose body never ends; `polled` counts reads.
fn change(uid: u32, length: usize, polled: &Arc<AtomicUsize>) -> Request {
    let polled = Arc::clone(polled);
    let body = stream::poll_fn(move |_| {
        polled.fetch_add(1, Ordering::Relaxed);
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
async fn requests_are_refused_before_their_body_is_read() {
    let polled = Arc::default();
    for (uid, length, status) in [
        (1000, 20, StatusCode::FORBIDDEN),
        (1000, LONGEST + 1, StatusCode::FORBIDDEN),
        (0, LONGEST + 1, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let service = TowerToHyperService::new(agent());
        let answer = service.call(change(uid, length, &polled)).now_or_never();
        let answer = answer.expect("it waits for the body").unwrap();
        assert_eq!(answer.status(), status);
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert!(std::str::from_utf8(&body).unwrap().contains("error"), "{body:?}");
    }
    assert_eq!(polled.load(Ordering::Relaxed), 0, "a body was read");
}

/// At most 16 MiB in total.
/// Row 5 of the second review.
#[tokio::test]
async fn concurrent_bodies_are_bounded_and_time_out() {
    const { assert!(AT_A_TIME * LONGEST <= 16 << 20) };
    let bodies = Bodies::new(Duration::from_millis(300));
    let read = async |mut request: Request| {
        request.extensions_mut().insert(bodies.clone());
        Body::from_request(request, &()).await
    };
    let polled: Vec<Arc<AtomicUsize>> = (0..100).map(|_| Arc::default()).collect();
    let all: Vec<_> =
        polled.iter().map(|polled| Box::pin(read(change(0, LONGEST, polled)))).collect();
    let started = || polled.iter().filter(|polled| polled.load(Ordering::Relaxed) > 0).count();
    let mut all = join_all(all);
    assert!(pin!(&mut all).now_or_never().is_none());
    assert_eq!(started(), AT_A_TIME);
    for refused in all.await {
        let status = refused.err().expect("it never ends").status();
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
    }
    let mut request = change(0, 2, &Arc::default());
    *request.body_mut() = body::Body::from("{}");
    assert_eq!(read(request).await.unwrap_or_else(|_| panic!("no room")).bytes, "{}");
}
