//! `rust16 call`: the crate's client against a server, case by case.

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
    version::{read_version, refused, version_request},
};

const HANDSHAKE: Duration = Duration::from_secs(10);

/// Calls every method and reports; an error means that nothing could be tried.
pub async fn run(
    address: SocketAddr,
    certificates: Certificates<'_>,
    server_name: &str,
) -> Result<Report, BoxError> {
    let leaf = certificates.first("client.pem")?;
    let whoami = TlsCert::from_der(&leaf).map_err(|error| error.to_string())?;
    let client = Client::new_with_mtls(
        certificates.first("ca.pem")?,
        leaf,
        certificates.key("client.key")?,
        vec![b"jetstream".to_vec()],
        SocketAddr::from(([0, 0, 0, 0], 0)),
    )?;
    let connection = tokio::time::timeout(HANDSHAKE, client.connect(address, server_name))
        .await
        .map_err(|_| format!("no connection within {HANDSHAKE:?}"))??;
    let values = values_channel(&connection).await?;
    let expected = identity(whoami.common_name.as_deref(), &whoami.fingerprint);

    let mut report = Report::default();
    cases::all(&mut report, &values, expected).await;
    report.step("second_lane", echo_lane(&connection)).await;
    versions(&mut report, &connection).await;
    report.step("after_refusals", values.ping()).await;
    report.step("no_certificate", no_certificate(address, &certificates, server_name)).await;
    connection.close(0u32.into(), b"done");
    Ok(report)
}

async fn values_channel(connection: &Connection) -> Result<ValuesChannel, BoxError> {
    let (send, recv) = connection.open_bi().await?;
    let transport: QuicTransport<ValuesChannel> = (send, recv).into();
    let channel = ValuesChannel::new(IN_FLIGHT, Box::new(transport));
    tokio::time::timeout(HANDSHAKE, channel.negotiate_version(u32::MAX))
        .await
        .map_err(|_| format!("no version agreed within {HANDSHAKE:?}"))??;
    Ok(channel)
}

/// Another service on a lane of its own in the same connection.
async fn echo_lane(connection: &Connection) -> Result<(), BoxError> {
    let (send, recv) = connection.open_bi().await?;
    let transport: QuicTransport<EchoChannel> = (send, recv).into();
    let echo = EchoChannel::new(IN_FLIGHT, Box::new(transport));
    let agreed = echo.negotiate_version(8192).await?;
    if agreed.msize == 0 || agreed.msize > 8192 {
        return Err(format!("msize {} for 8192", agreed.msize).into());
    }
    echo.ping().await?;
    same("reply", &echo.echo("hello".into()).await?, &"hello".to_owned())?;
    Ok(same("reply", &echo.add(2, 3).await?, &5)?)
}

async fn versions(report: &mut Report, connection: &Connection) {
    let unknown = "rs.jetstream.proto/nosuch/16.0.0+00000000";
    report.step("unknown_service", refused(connection, unknown)).await;
    let major = "rs.jetstream.proto/values/17.0.0+00000000";
    report.step("another_major", refused(connection, major)).await;
    let minor = "rs.jetstream.proto/values/16.999.0+00000000";
    report.step("newer_minor", refused(connection, minor)).await;
    report.step("malformed_version", refused(connection, "rs.jetstream.proto/values")).await;
    report.step("other_digest", pipelined(connection)).await;
}

/// Another digest is welcome, requests may follow at once, and a closed half still gets replies.
async fn pipelined(connection: &Connection) -> Result<(), BoxError> {
    let (version, _) = values_protocol::PROTOCOL_VERSION.split_once('+').unwrap_or_default();
    let mut bytes = version_request(65_536, &format!("{version}+00000000"))?;
    bytes.extend(request(values_protocol::TPING, 5, b"")?);
    bytes.extend(request(values_protocol::TSLEEP_MS, 6, &50u32.to_le_bytes())?);
    let mut lane = Lane::open(connection).await?;
    lane.write(&bytes).await?;
    lane.finish()?;
    let agreed = read_version(&mut lane).await?;
    if !agreed.version.starts_with("rs.jetstream.proto/values/16.") {
        return Err(format!("version {:?}", agreed.version).into());
    }
    let pong = RawFrame { kind: values_protocol::RPING, tag: 5, payload: vec![] };
    same("first reply", &lane.read().await?, &pong)?;
    let slept = RawFrame {
        kind: values_protocol::RSLEEP_MS,
        tag: 6,
        payload: 50u32.to_le_bytes().to_vec(),
    };
    same("second reply", &lane.read().await?, &slept)?;
    lane.read_end().await
}

/// A client without a certificate must not get a reply.
async fn no_certificate(
    address: SocketAddr,
    certificates: &Certificates<'_>,
    server_name: &str,
) -> Result<(), BoxError> {
    let client = Client::new(
        certificates.first("ca.pem")?,
        vec![b"jetstream".to_vec()],
        SocketAddr::from(([0, 0, 0, 0], 0)),
    )?;
    let reached = async {
        let connection = client.connect(address, server_name).await?;
        let mut lane = Lane::open(&connection).await?;
        lane.write(&version_request(65_536, echo_protocol::PROTOCOL_VERSION)?).await?;
        read_version(&mut lane).await
    };
    match reached.await {
        Ok(_) => Err("the server answered".into()),
        Err(_) => Ok(()),
    }
}
