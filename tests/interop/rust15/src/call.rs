//! `call`: the crate's client against a server, case by case.
//!
//! The program on 15.1.0 uses this file too.

use std::{net::SocketAddr, time::Duration};

use jetstream_quic::{Client, QuicTransport};
use jetstream_rpc::context::TlsCert;
use quinn::Connection;

use crate::{
    cases::{self, IN_FLIGHT},
    endpoint::{BoxError, Certificates},
    lane::{request, Lane, RawFrame},
    report::{same, Report},
    values::{
        echo_protocol::{self, EchoChannel},
        identity,
        values_protocol::{self, ValuesChannel},
        Echo, Values,
    },
    versions,
};

const HANDSHAKE: Duration = Duration::from_secs(10);

/// Where the server is, and who we are.
struct Way<'a> {
    address: SocketAddr,
    certificates: Certificates<'a>,
    server_name: &'a str,
}

impl Way<'_> {
    /// A connection under a protocol name: it is for the one service of that version string.
    async fn connect(&self, protocol: &str) -> Result<Connection, BoxError> {
        let client = Client::new_with_mtls(
            self.certificates.first("ca.pem")?,
            self.certificates.first("client.pem")?,
            self.certificates.key("client.key")?,
            vec![protocol.as_bytes().to_vec()],
        )?;
        tokio::time::timeout(HANDSHAKE, client.connect(self.address, self.server_name))
            .await
            .map_err(|_| format!("no connection within {HANDSHAKE:?}"))?
    }
}

/// Calls every method and reports; an error means that nothing could be tried.
pub async fn run(
    address: SocketAddr,
    certificates: Certificates<'_>,
    server_name: &str,
) -> Result<Report, BoxError> {
    let way = Way { address, certificates, server_name };
    let leaf = way.certificates.first("client.pem")?;
    let whoami = TlsCert::from_der(&leaf).map_err(|error| error.to_string())?;
    let expected = identity(whoami.common_name.as_deref(), &whoami.fingerprint);
    let connection = way.connect(values_protocol::PROTOCOL_VERSION).await?;
    let values = values_channel(&connection).await?;

    let mut report = Report::default();
    cases::all(&mut report, &values, expected).await;
    report.step("second_lane", second_lane(&connection)).await;
    report.step("without_version", without_version(&connection)).await;
    versions::all(&mut report, &connection).await;
    report.step("after_versions", values.ping()).await;
    report.step("other_service", other_service(&way)).await;
    report.step("other_digest", other_digest(&way)).await;
    report.step("no_certificate", no_certificate(&way)).await;
    connection.close(0u32.into(), b"done");
    Ok(report)
}

/// Nothing is agreed: the first frame is a call.
pub async fn values_channel(connection: &Connection) -> Result<ValuesChannel, BoxError> {
    let (send, recv) = connection.open_bi().await?;
    let transport: QuicTransport<ValuesChannel> = (send, recv).into();
    Ok(ValuesChannel::new(IN_FLIGHT, Box::new(transport)))
}

async fn second_lane(connection: &Connection) -> Result<(), BoxError> {
    let values = values_channel(connection).await?;
    Ok(same("reply", &values.echo_str("hello".into()).await?, &"hello".to_owned())?)
}

/// Requests are the first bytes of a lane, and a closed half still gets replies.
async fn without_version(connection: &Connection) -> Result<(), BoxError> {
    let mut lane = Lane::open(connection).await?;
    lane.write(&request(values_protocol::TPING, 0, b"")?).await?;
    lane.write(&request(values_protocol::TSLEEP_MS, u16::MAX, &50u32.to_le_bytes())?).await?;
    lane.finish()?;
    same("first reply", &lane.read().await?, &pong(0))?;
    let slept = RawFrame {
        kind: values_protocol::RSLEEP_MS,
        tag: u16::MAX,
        payload: 50u32.to_le_bytes().to_vec(),
    };
    same("second reply", &lane.read().await?, &slept)?;
    lane.read_end().await
}

pub fn pong(tag: u16) -> RawFrame {
    RawFrame { kind: values_protocol::RPING, tag, payload: vec![] }
}

/// Another service has a connection of its own.
async fn other_service(way: &Way<'_>) -> Result<(), BoxError> {
    let connection = way.connect(echo_protocol::PROTOCOL_VERSION).await?;
    let (send, recv) = connection.open_bi().await?;
    let transport: QuicTransport<EchoChannel> = (send, recv).into();
    let echo = EchoChannel::new(IN_FLIGHT, Box::new(transport));
    echo.ping().await?;
    same("reply", &echo.echo("hello".into()).await?, &"hello".to_owned())?;
    Ok(same("reply", &echo.add(2, 3).await?, &5)?)
}

/// Every byte of the version string counts, the digest included.
async fn other_digest(way: &Way<'_>) -> Result<(), BoxError> {
    let version =
        values_protocol::PROTOCOL_VERSION.trim_end_matches(|c: char| c.is_ascii_hexdigit());
    match way.connect(&format!("{version}00000000")).await {
        Ok(_) => Err("the server accepted it".into()),
        Err(_) => Ok(()),
    }
}

/// A client without a certificate must not get a reply.
async fn no_certificate(way: &Way<'_>) -> Result<(), BoxError> {
    let protocol = values_protocol::PROTOCOL_VERSION.as_bytes().to_vec();
    let client = Client::new(way.certificates.first("ca.pem")?, vec![protocol])?;
    let reached = async {
        let connection = client.connect(way.address, way.server_name).await?;
        let mut lane = Lane::open(&connection).await?;
        lane.write(&request(values_protocol::TPING, 1, b"")?).await?;
        lane.read().await
    };
    match reached.await {
        Ok(_) => Err("the server answered".into()),
        Err(_) => Ok(()),
    }
}
