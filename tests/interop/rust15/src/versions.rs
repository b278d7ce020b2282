//! Version frames, which are calls like any other: they may come at any time, or never.

use quinn::Connection;

use crate::{
    call::{pong, values_channel},
    endpoint::BoxError,
    lane::{request, Lane},
    report::{same, Report},
    values::{values_protocol, Values},
    version::{read_version, refused, version_request},
};

pub async fn all(report: &mut Report, connection: &Connection) {
    report.step("version_among_calls", version_among_calls(connection)).await;
    let unknown = "rs.jetstream.proto/nosuch/15.2.0+00000000";
    report.step("version_of_another_service", refused(connection, unknown)).await;
    report.step("version_too_new", version_too_new(connection)).await;
}

/// The crate's client may ask for the version whenever it likes.
async fn version_among_calls(connection: &Connection) -> Result<(), BoxError> {
    let values = values_channel(connection).await?;
    values.ping().await?;
    let agreed = values.negotiate_version(8192).await?;
    same("version", &agreed.version.as_str(), &values_protocol::PROTOCOL_VERSION)?;
    if agreed.msize == 0 || agreed.msize > 8192 {
        return Err(format!("msize {} for 8192", agreed.msize).into());
    }
    Ok(same("reply", &values.add(2, 3).await?, &5)?)
}

/// A refused version is an answer like any other: the lane goes on.
async fn version_too_new(connection: &Connection) -> Result<(), BoxError> {
    let mut lane = Lane::open(connection).await?;
    lane.write(&version_request(65_536, "rs.jetstream.proto/values/15.999.0+00000000")?).await?;
    let answer = read_version(&mut lane).await?;
    same("version", &answer.version.as_str(), &"unknown")?;
    lane.write(&request(values_protocol::TPING, 5, b"")?).await?;
    Ok(same("reply", &lane.read().await?, &pong(5))?)
}
