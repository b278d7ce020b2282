//! The HTTP/3 side: jetstream_http 16.0.0 with axum, as `rust16-bench http CERTIFICATES`.
//!
//! It answers as `asgi_app.py` does: `/hello`, `/mib`, and an order as JSON at `/order`.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    http::header::CONTENT_TYPE,
    routing::{get, post},
    Json, Router,
};
use bytes::Bytes;
use jetstream_http::H3Service;
use jetstream_quic::QuicRouter;
use serde::{Deserialize, Serialize};

use crate::endpoint::{self, BoxError, Certificates};

const MIB: usize = 1024 * 1024;

#[derive(Serialize, Deserialize)]
struct Address {
    street: String,
    city: String,
    postcode: String,
    country: String,
}

#[derive(Serialize, Deserialize)]
struct Line {
    sku: String,
    title: String,
    quantity: u32,
    price: f64,
    tags: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Order {
    number: u64,
    customer: String,
    note: Option<String>,
    ship_to: Address,
    lines: Vec<Line>,
}

async fn order(Json(order): Json<Order>) -> Json<Order> {
    Json(order)
}

/// Serves until standard input closes.
pub async fn serve(certificates: &Certificates<'_>) -> Result<(), BoxError> {
    let body = Bytes::from(vec![b'x'; MIB]);
    let mib = move || async move { ([(CONTENT_TYPE, "application/octet-stream")], body) };
    let site = Router::new()
        .route("/hello", get(|| async { "Hello, world!" }))
        .route("/mib", get(mib))
        .route("/order", post(order));
    let mut router = QuicRouter::new();
    router.register(Arc::new(H3Service::new(site, Arc::new(jetstream_rpc::Router::new()))));
    let endpoint = listen(certificates, router.alpns())?;
    println!("{{\"address\": \"{}\"}}", endpoint.local_addr()?);
    endpoint::serve(&endpoint, |incoming| {
        let router = router.clone();
        async move { router.handle_incoming(incoming).await }
    })
    .await;
    Ok(())
}

/// An endpoint that lets everybody in, as a site does.
fn listen(
    certificates: &Certificates<'_>,
    alpn: Vec<Vec<u8>>,
) -> Result<quinn::Endpoint, BoxError> {
    let (chain, key) = (certificates.chain("server.pem")?, certificates.key("server.key")?);
    let mut tls =
        rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    tls.max_early_data_size = u32::MAX;
    tls.alpn_protocols = alpn;
    let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(tls)?;
    let config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    Ok(quinn::Endpoint::server(config, SocketAddr::from(([127, 0, 0, 1], 0)))?)
}
