//! SOCKS5 as a client: greeting, user name and password, CONNECT (RFC 1928, RFC 1929).
//!
//! Only CONNECT; never UDP, BIND or GSSAPI. The answers are read field by field, so nothing after them is taken.

use std::net::IpAddr;

use tokio::io::{AsyncRead, AsyncWrite};

use super::error::{ProxyError, Stage};
use super::url::Credentials;
use super::wire::Wire;

const VERSION: u8 = 5;
/// Version of the sub-negotiation of RFC 1929; not 5.
const AUTH_VERSION: u8 = 1;
const NO_AUTH: u8 = 0;
const USER_PASSWORD: u8 = 2;
const NO_ACCEPTABLE: u8 = 0xff;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

pub(super) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<'_, S>,
    credentials: Option<&Credentials>,
    host: &str,
    port: u16,
) -> Result<(), ProxyError> {
    let request = request(host, port)?;
    wire.stage = Stage::Greeting;
    match credentials {
        None => wire.send(&[VERSION, 1, NO_AUTH]).await?,
        Some(_) => wire.send(&[VERSION, 2, NO_AUTH, USER_PASSWORD]).await?,
    }
    // The version alone first: something that is not SOCKS may never send a second byte.
    version(wire).await?;
    let [method] = wire.read().await?;
    match (method, credentials) {
        (NO_AUTH, _) => {}
        (USER_PASSWORD, Some(c)) => authenticate(wire, c).await?,
        // A server that has no method for us says 0xff; one that names a method we did not offer means the same.
        (USER_PASSWORD | NO_ACCEPTABLE, None) => return Err(ProxyError::AuthRequired),
        _ => return Err(ProxyError::NoMethod),
    }
    wire.stage = Stage::Connect;
    wire.send(&request).await?;
    version(wire).await?;
    let [rep, _reserved] = wire.read().await?;
    if rep != 0 {
        // Some servers close here without the bound address; the code is all that is needed.
        return Err(ProxyError::Refused { code: rep });
    }
    let [kind] = wire.read().await?;
    let address = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => usize::from(wire.read::<1>().await?[0]),
        _ => return Err(ProxyError::Malformed("the bound address has an unknown type")),
    };
    wire.skip(address + 2).await
}

async fn version<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<'_, S>) -> Result<(), ProxyError> {
    match wire.read().await? {
        [VERSION] => Ok(()),
        [got] => Err(ProxyError::NotSocks { got }),
    }
}

async fn authenticate<S: AsyncRead + AsyncWrite + Unpin>(
    wire: &mut Wire<'_, S>,
    credentials: &Credentials,
) -> Result<(), ProxyError> {
    wire.stage = Stage::Auth;
    let (user, password) = (credentials.user.reveal(), credentials.password.reveal());
    let mut message = vec![AUTH_VERSION];
    for text in [user, password] {
        // Checked with the configuration (1 to 255 bytes).
        message.push(u8::try_from(text.len()).map_err(|_| ProxyError::AuthFailed)?);
        message.extend_from_slice(text.as_bytes());
    }
    wire.send(&message).await?;
    // Servers exist that answer with 5 instead of 1 here; the status decides.
    let [version, status] = match wire.read().await {
        // Closing is how a refusal ends anyway; servers exist that close without the two bytes.
        Err(ProxyError::Closed(_)) => return Err(ProxyError::AuthFailed),
        other => other?,
    };
    if version != AUTH_VERSION && version != VERSION {
        return Err(ProxyError::Malformed("the answer to user name and password has an unknown version"));
    }
    if status == 0 { Ok(()) } else { Err(ProxyError::AuthFailed) }
}

/// Addresses as addresses, everything else as a name for the proxy to resolve.
fn request(host: &str, port: u16) -> Result<Vec<u8>, ProxyError> {
    let mut bytes = vec![VERSION, CONNECT, 0];
    match host.parse() {
        Ok(IpAddr::V4(ip)) => {
            bytes.push(IPV4);
            bytes.extend_from_slice(&ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            bytes.push(IPV6);
            bytes.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            bytes.push(NAME);
            bytes.push(u8::try_from(host.len()).map_err(|_| ProxyError::NameTooLong(host.len()))?);
            bytes.extend_from_slice(host.as_bytes());
        }
    }
    bytes.extend_from_slice(&port.to_be_bytes());
    Ok(bytes)
}
