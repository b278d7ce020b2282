//! `rust15 serve`: the crate's server until standard input closes.

use std::{net::SocketAddr, sync::Arc};

use jetstream_quic::Router;

use crate::{
    command::announce,
    endpoint::{self, BoxError, Certificates},
    values::{echo_protocol, values_protocol, EchoImpl, ValuesImpl},
};

/// Serves `Values` and `Echo`, each under its own protocol name; prints one line of JSON as soon as
/// it listens.
pub async fn run(address: SocketAddr, certificates: Certificates<'_>) -> Result<(), BoxError> {
    let mut router = Router::new();
    router.register(Arc::new(values_protocol::ValuesService { inner: ValuesImpl }));
    router.register(Arc::new(echo_protocol::EchoService { inner: EchoImpl }));

    let endpoint = certificates.listen(address, router.alpns())?;
    announce(endpoint.local_addr()?);
    endpoint::serve(&endpoint, |incoming| {
        let router = router.clone();
        async move { router.handle_incoming(incoming).await }
    })
    .await;
    Ok(())
}
