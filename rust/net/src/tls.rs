//! stub
pub(crate) struct H {
    pub alpn: Option<Vec<u8>>,
}
pub(crate) fn handshake(session: &dyn quinn_proto::crypto::Session) -> Option<H> {
    session
        .handshake_data()?
        .downcast::<quinn_proto::crypto::rustls::HandshakeData>()
        .ok()
        .map(|d| H { alpn: d.protocol })
}
