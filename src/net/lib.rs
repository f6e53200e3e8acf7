//! The network: one HTTP client, one dialer with its proxies and TLS, one HTTP server; what an address may do at an
//! exchange, over all processes; pace and `Retry-After`.
#![forbid(unsafe_code)]

pub mod budget;
pub mod connect;
pub mod connect_error;
pub mod dial;
pub mod exchange;
pub mod http;
pub mod pace;
mod proxy;
pub mod rest;
pub mod server;
mod settings;
pub mod text;
mod throttle;

pub use self::proxy::Proxy;
pub use self::settings::{General, Tls, Way};
