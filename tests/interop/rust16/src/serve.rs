//! `rust16 serve`: the crate's server until standard input closes.

use std::{net::SocketAddr, sync::Arc};

use jetstream_quic::{QuicRouter, QuicRouterHandler};

use crate::{
    command::announce,
    endpoint::{self, BoxError, Certificates},
    values::{echo_protocol, values_protocol, EchoImpl, ValuesImpl},
};

/// Serves `Values` and `Echo`; prints one line of JSON as soon as it listens.
pub async fn run(address: SocketAddr, certificates: Certificates<'_>) -> Result<(), BoxError> {
    let services = jetstream_rpc::Router::new()
        .with_handler(
            values_protocol::PROTOCOL_NAME,
            values_protocol::ValuesService { inner: ValuesImpl },
        )
        .with_handler(echo_protocol::PROTOCOL_NAME, echo_protocol::EchoService { inner: EchoImpl });
    let mut router = QuicRouter::new();
    router.register(Arc::new(QuicRouterHandler::new(Arc::new(services))));

    let endpoint = certificates.listen(address, router.alpns())?;
    announce(endpoint.local_addr()?);
    endpoint::serve(&endpoint, |incoming| {
        let router = router.clone();
        async move { router.handle_incoming(incoming).await }
    })
    .await;
    Ok(())
}
