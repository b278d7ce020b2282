//! Calls that every server must answer alike, whatever the connection looks like.
//!
//! The program on 15.2.0 uses this file too.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, UNIX_EPOCH},
};

use futures::{future::try_join_all, StreamExt, TryStreamExt};
use jetstream::prelude::{Data, Error};

use crate::{
    endpoint::BoxError,
    report::{same, Report},
    values::{values_protocol::ValuesChannel, Point, Profile, Shape, Values},
};

/// Tags of the crate's client run through all 65,536 values only with this many in flight; with
/// fewer it hands out tags twice once the counter has gone round.
pub const IN_FLIGHT: u16 = u16::MAX;
/// For 70,000 calls, also to a server that was not built for speed.
const EVERY_TAG: Duration = Duration::from_secs(60);

/// Every method with values of every kind, errors, and many calls at once; `whoami` is who the
/// server must take us for.
pub async fn all(report: &mut Report, values: &ValuesChannel, whoami: String) {
    report.reply("ping", values.ping(), ()).await;
    report.reply("add", values.add(-70_000, 70_001), 1).await;
    report.reply("whoami", values.whoami(Default::default()), whoami).await;
    errors(report, values).await;
    numbers(report, values).await;
    texts(report, values).await;
    collections(report, values).await;
    addresses(report, values).await;
    records(report, values).await;
    report.step("after_all_values", values.ping()).await;
    concurrency(report, values).await;
}

async fn errors(report: &mut Report, values: &ValuesChannel) {
    let full = values.fail(
        "no such café".into(),
        Some("shop::missing".into()),
        Some("look around the corner".into()),
        Some("https://example.com/missing".into()),
    );
    let parts = (
        "no such café",
        Some("shop::missing"),
        Some("look around the corner"),
        Some("https://example.com/missing"),
    );
    report.step("fail", fault(full, parts)).await;
    let help_only = values.fail("plain".into(), Some("c".into()), None, None);
    report.step("fail_with_code", fault(help_only, ("plain", Some("c"), None, None))).await;
    report.step("after_fail", values.ping()).await;
}

/// The call must fail with exactly this message, code, help and URL.
async fn fault(
    call: impl std::future::Future<Output = Result<(), Error>>,
    expected: (&str, Option<&str>, Option<&str>, Option<&str>),
) -> Result<(), String> {
    match call.await {
        Ok(()) => Err("no error".into()),
        Err(error) => {
            let got = (error.message(), error.code(), error.help_text(), error.url());
            same("error", &got, &expected)
        }
    }
}

/// One case per method: calls it with each value in turn and expects the value back.
macro_rules! echo {
    ($report:ident, $values:ident, $($method:ident: $($value:expr),+;)*) => {$(
        let all = async {
            $(
                let value = $value;
                let reply = $values.$method(value.clone()).await?;
                same("reply", &reply, &value)?;
            )+
            Ok::<(), BoxError>(())
        };
        $report.step(stringify!($method), all).await;
    )*};
}

async fn numbers(report: &mut Report, values: &ValuesChannel) {
    echo! { report, values,
        echo_bool: true, false;
        echo_u_8: 0, u8::MAX;
        echo_u_16: 0x1234, u16::MAX;
        echo_u_32: 0x1234_5678, u32::MAX;
        echo_u_64: 0x1234_5678_9abc_def0, u64::MAX;
        echo_u_128: 24_197_857_200_151_252_728_969_465_429_440_056_815, u128::MAX;
        echo_i_16: -2, i16::MIN;
        echo_i_32: -70_000, i32::MIN;
        echo_i_64: -1, i64::MIN, i64::MAX;
        echo_i_128: -1, i128::MIN, i128::MAX;
        echo_f_32: 1.5_f32, f32::MIN_POSITIVE, f32::NEG_INFINITY;
        echo_f_64: -0.1_f64, f64::MAX, f64::INFINITY;
    }
    let nan = async { values.echo_f_64(f64::NAN).await.map(f64::is_nan) };
    report.reply("echo_f_64_nan", nan, true).await;
}

async fn texts(report: &mut Report, values: &ValuesChannel) {
    let megabyte: Vec<u8> = (0..=u8::MAX).cycle().take(1 << 20).collect();
    echo! { report, values,
        echo_str:
            String::new(), "hello".to_owned(), "日本語 🚀 \0".to_owned(), "é".repeat(32_767) + "x";
        echo_bytes: Data(vec![]), Data(vec![0, 255, 16]), Data(megabyte);
    }
}

async fn collections(report: &mut Report, values: &ValuesChannel) {
    echo! { report, values,
        echo_list_u_32: vec![], vec![1, 2, 3], (0..65_535).collect::<Vec<u32>>();
        echo_list_str: vec!["a".to_owned(), String::new(), "bc".to_owned()];
        echo_list_list_u_8: vec![vec![1], vec![], vec![2, 3]];
        echo_option: None, Some(7);
        echo_nested_option: None, Some(None), Some(Some(9));
        echo_map_str_u_32: BTreeMap::new(), BTreeMap::from([("b".to_owned(), 2), ("a".to_owned(), 1)]);
        echo_map_u_16_bool: BTreeMap::from([(300, true), (2, false)]);
        echo_set_u_16: BTreeSet::from([256, 5, 1]);
    }
}

async fn addresses(report: &mut Report, values: &ValuesChannel) {
    echo! { report, values,
        echo_ipv_4: "192.168.1.2".parse::<Ipv4Addr>()?;
        echo_ipv_6: "2001:db8::1".parse::<Ipv6Addr>()?;
        echo_ip: "10.0.0.1".parse::<IpAddr>()?, "::1".parse::<IpAddr>()?;
        echo_socket_address:
            "127.0.0.1:4433".parse::<SocketAddr>()?, "[2001:db8::1]:443".parse::<SocketAddr>()?;
        echo_url: "https://example.com/a?b=c".parse::<url::Url>()?;
        echo_time: UNIX_EPOCH, UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
    }
}

async fn records(report: &mut Report, values: &ValuesChannel) {
    let profile = |nick: Option<&str>| Profile {
        name: "ada".into(),
        tags: vec!["x".into(), "yy".into()],
        nick: nick.map(Into::into),
        at: Point { x: 7, y: 8 },
    };
    echo! { report, values,
        echo_point: Point { x: 1, y: -1 };
        echo_profile: profile(None), profile(Some("lovelace"));
        echo_shape:
            Shape::Empty,
            Shape::Circle(2.5),
            Shape::Rect { w: 3, h: 4 },
            Shape::Labeled("p".into(), Point { x: 1, y: 2 });
    }
}

async fn concurrency(report: &mut Report, values: &ValuesChannel) {
    let thousand = async {
        let calls = (0..1000).map(|i| values.add(i, 1_000_000));
        let replies = try_join_all(calls).await.map_err(|error| error.to_string())?;
        same("replies", &replies, &(1_000_000..1_001_000).collect())
    };
    report.step("thousand_at_once", thousand).await;

    let overtaken = async {
        let slow = values.sleep_ms(300);
        let quick = async {
            values.ping().await?;
            Ok::<_, Error>(std::time::Instant::now())
        };
        let slow = async { slow.await.map(|_| std::time::Instant::now()) };
        let (slow, quick) = futures::future::try_join(slow, quick).await?;
        Ok::<_, Error>(quick < slow)
    };
    report.reply("quick_call_overtakes_slow_one", overtaken, true).await;

    // More calls than there are tags: 65535 and 0 are ordinary tags to this client.
    let all_tags = futures::stream::iter(0..70_000)
        .map(|i| async move { Ok::<_, BoxError>(same("sum", &values.add(i, 1).await?, &(i + 1))?) })
        .buffer_unordered(64)
        .try_collect::<()>();
    report.long_step("every_tag", EVERY_TAG, all_tags).await;
}
