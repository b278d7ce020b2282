//! The types and the two services that both sides of the interoperation tests offer.
//!
//! The order of the methods is the contract: it numbers the frames. `../../services.py` declares
//! the same services in the same order. `i8` and tuples are missing: 16.0.0 has no wire format for
//! them. Digits stand alone in method names because its macro looks for the constant `TECHO_U_8`.
#![allow(unused_imports, reason = "the service macro imports what it may not need")]
#![allow(dead_code, reason = "the service macro defines what is not used here")]
#![allow(unused_variables, reason = "the client's methods ignore their context")]

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, SystemTime},
};

use jetstream::prelude::*;
use jetstream_rpc::context::Peer;
use url::Url;

#[derive(Debug, Clone, PartialEq, Eq, JetStreamWireFormat)]
pub struct Point {
    pub x: u32,
    pub y: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, JetStreamWireFormat)]
pub struct Profile {
    pub name: String,
    pub tags: Vec<String>,
    pub nick: Option<String>,
    pub at: Point,
}

#[derive(Debug, Clone, PartialEq, JetStreamWireFormat)]
pub enum Shape {
    Empty,
    Circle(f64),
    Rect { w: u32, h: u32 },
    Labeled(String, Point),
}

#[service(uses(
    super::{Point, Profile, Shape},
    std::collections::{BTreeMap, BTreeSet},
    std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    std::time::SystemTime,
    url::Url,
))]
pub trait Values {
    async fn ping(&self) -> Result<()>;
    async fn add(&self, a: i32, b: i32) -> Result<i32>;
    async fn fail(
        &self,
        message: String,
        code: Option<String>,
        help: Option<String>,
        url: Option<String>,
    ) -> Result<()>;
    async fn whoami(&self, ctx: Context) -> Result<String>;
    async fn sleep_ms(&self, milliseconds: u32) -> Result<u32>;
    async fn echo_bool(&self, value: bool) -> Result<bool>;
    async fn echo_u_8(&self, value: u8) -> Result<u8>;
    async fn echo_u_16(&self, value: u16) -> Result<u16>;
    async fn echo_u_32(&self, value: u32) -> Result<u32>;
    async fn echo_u_64(&self, value: u64) -> Result<u64>;
    async fn echo_u_128(&self, value: u128) -> Result<u128>;
    async fn echo_i_16(&self, value: i16) -> Result<i16>;
    async fn echo_i_32(&self, value: i32) -> Result<i32>;
    async fn echo_i_64(&self, value: i64) -> Result<i64>;
    async fn echo_i_128(&self, value: i128) -> Result<i128>;
    async fn echo_f_32(&self, value: f32) -> Result<f32>;
    async fn echo_f_64(&self, value: f64) -> Result<f64>;
    async fn echo_str(&self, value: String) -> Result<String>;
    async fn echo_list_u_32(&self, value: Vec<u32>) -> Result<Vec<u32>>;
    async fn echo_list_str(&self, value: Vec<String>) -> Result<Vec<String>>;
    async fn echo_list_list_u_8(&self, value: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>>;
    async fn echo_bytes(&self, value: Data) -> Result<Data>;
    async fn echo_option(&self, value: Option<u32>) -> Result<Option<u32>>;
    async fn echo_nested_option(&self, value: Option<Option<u8>>) -> Result<Option<Option<u8>>>;
    async fn echo_map_str_u_32(
        &self,
        value: BTreeMap<String, u32>,
    ) -> Result<BTreeMap<String, u32>>;
    async fn echo_map_u_16_bool(&self, value: BTreeMap<u16, bool>) -> Result<BTreeMap<u16, bool>>;
    async fn echo_set_u_16(&self, value: BTreeSet<u16>) -> Result<BTreeSet<u16>>;
    async fn echo_ipv_4(&self, value: Ipv4Addr) -> Result<Ipv4Addr>;
    async fn echo_ipv_6(&self, value: Ipv6Addr) -> Result<Ipv6Addr>;
    async fn echo_ip(&self, value: IpAddr) -> Result<IpAddr>;
    async fn echo_socket_address(&self, value: SocketAddr) -> Result<SocketAddr>;
    async fn echo_url(&self, value: Url) -> Result<Url>;
    async fn echo_time(&self, value: SystemTime) -> Result<SystemTime>;
    async fn echo_point(&self, value: Point) -> Result<Point>;
    async fn echo_profile(&self, value: Profile) -> Result<Profile>;
    async fn echo_shape(&self, value: Shape) -> Result<Shape>;
}

#[service]
pub trait Echo {
    async fn ping(&self) -> Result<()>;
    async fn echo(&self, message: String) -> Result<String>;
    async fn add(&self, a: i32, b: i32) -> Result<i32>;
}

/// How `whoami` answers, in both languages.
pub fn identity(common_name: Option<&str>, fingerprint: &str) -> String {
    format!("{} {fingerprint}", common_name.unwrap_or("-"))
}

#[derive(Debug, Clone)]
pub struct ValuesImpl;

macro_rules! echoes {
    ($($method:ident($value:ty);)*) => {
        $(async fn $method(&self, value: $value) -> Result<$value> {
            Ok(value)
        })*
    };
}

impl Values for ValuesImpl {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn add(&self, a: i32, b: i32) -> Result<i32> {
        Ok(a.wrapping_add(b))
    }

    async fn fail(
        &self,
        message: String,
        code: Option<String>,
        help: Option<String>,
        url: Option<String>,
    ) -> Result<()> {
        let mut error = Error::new(message);
        if let Some(code) = code {
            error = error.set_code(code);
        }
        if let Some(help) = help {
            error = error.set_help(help);
        }
        if let Some(url) = url {
            error = error.set_url(url);
        }
        Err(error)
    }

    async fn whoami(&self, ctx: Context) -> Result<String> {
        match ctx.peer() {
            Some(Peer::Tls(peer)) => match peer.leaf() {
                Some(leaf) => Ok(identity(leaf.common_name.as_deref(), &leaf.fingerprint)),
                None => Err(Error::new("the peer's chain is empty")),
            },
            _ => Err(Error::new("the peer showed no certificate")),
        }
    }

    async fn sleep_ms(&self, milliseconds: u32) -> Result<u32> {
        tokio::time::sleep(Duration::from_millis(milliseconds.into())).await;
        Ok(milliseconds)
    }

    echoes! {
        echo_bool(bool);
        echo_u_8(u8);
        echo_u_16(u16);
        echo_u_32(u32);
        echo_u_64(u64);
        echo_u_128(u128);
        echo_i_16(i16);
        echo_i_32(i32);
        echo_i_64(i64);
        echo_i_128(i128);
        echo_f_32(f32);
        echo_f_64(f64);
        echo_str(String);
        echo_list_u_32(Vec<u32>);
        echo_list_str(Vec<String>);
        echo_list_list_u_8(Vec<Vec<u8>>);
        echo_bytes(Data);
        echo_option(Option<u32>);
        echo_nested_option(Option<Option<u8>>);
        echo_map_str_u_32(BTreeMap<String, u32>);
        echo_map_u_16_bool(BTreeMap<u16, bool>);
        echo_set_u_16(BTreeSet<u16>);
        echo_ipv_4(Ipv4Addr);
        echo_ipv_6(Ipv6Addr);
        echo_ip(IpAddr);
        echo_socket_address(SocketAddr);
        echo_url(Url);
        echo_time(SystemTime);
        echo_point(Point);
        echo_profile(Profile);
        echo_shape(Shape);
    }
}

#[derive(Debug, Clone)]
pub struct EchoImpl;

impl Echo for EchoImpl {
    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    async fn echo(&self, message: String) -> Result<String> {
        Ok(message)
    }

    async fn add(&self, a: i32, b: i32) -> Result<i32> {
        Ok(a.wrapping_add(b))
    }
}
