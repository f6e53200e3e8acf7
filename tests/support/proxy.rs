//! Proxies for a test: real ones where they are installed (microsocks, Dante, tinyproxy), else a small SOCKS5 server
//! of our own. Names that only the proxy can resolve come from an `/etc/hosts` that only the proxy sees.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{free_port, wait_until};

/// The name of the exchange that nobody but the proxy can resolve (RFC 6761 promises that no resolver does).
pub const NAME: &str = "exchange.invalid";
pub const USER: &str = "tape";
/// Stands in no log and no record. In URLs its `-` is percent-encoded.
pub const PASSWORD: &str = "se5ame-open";

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Microsocks,
    Dante,
    Tinyproxy,
    /// In this process.
    Own,
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Kind::Microsocks => "microsocks",
            Kind::Dante => "danted",
            Kind::Tinyproxy => "tinyproxy",
            Kind::Own => "",
        }
    }

    pub fn installed(self) -> bool {
        self == Kind::Own
            || std::env::split_paths(&format!("{}:/usr/sbin:/usr/bin", std::env::var("PATH").unwrap_or_default()))
                .any(|dir| dir.join(self.program()).is_file())
    }
}

/// A running proxy on loopback.
pub struct Proxy {
    kind: Kind,
    pub port: u16,
    child: Option<Child>,
    served: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one; with `auth` it wants [`USER`] and [`PASSWORD`].
    pub fn start(kind: Kind, auth: bool, dir: &Path) -> Proxy {
        if kind == Kind::Own {
            let served = Arc::new(AtomicUsize::new(0));
            return Proxy { kind, port: own(auth, Arc::clone(&served)), child: None, served };
        }
        let port = free_port();
        let mut command = if own_hosts(dir) {
            let mut c = Command::new("unshare");
            c.args(["-m", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\""])
                .arg(dir.join("hosts"))
                .arg(kind.program());
            c
        } else {
            Command::new(kind.program())
        };
        match kind {
            Kind::Microsocks => {
                command.args(["-i", "127.0.0.1", "-p", &port.to_string()]);
                if auth {
                    command.args(["-u", USER, "-P", PASSWORD]);
                }
            }
            Kind::Dante => {
                let config = dir.join("danted.conf");
                std::fs::write(
                    &config,
                    format!(
                        "logoutput: stderr\ninternal: 127.0.0.1 port = {port}\nexternal: lo\nclientmethod: none\nsocksmethod: {}\nclient pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}\nsocks pass {{ from: 0.0.0.0/0 to: 0/0 }}\n",
                        if auth { "username" } else { "none" }
                    ),
                )
                .unwrap();
                command.arg("-f").arg(config);
            }
            _ => {
                let config = dir.join("tinyproxy.conf");
                let auth = if auth { format!("BasicAuth {USER} {PASSWORD}\n") } else { String::new() };
                std::fs::write(&config, format!("Port {port}\nListen 127.0.0.1\nMaxClients 64\nTimeout 600\n{auth}"))
                    .unwrap();
                command.arg("-d").arg("-c").arg(config);
            }
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(dir.join("proxy.log")).unwrap())
            .stderr(std::fs::File::create(dir.join("proxy.err")).unwrap())
            .spawn()
            .unwrap();
        let proxy = Proxy { kind, port, child: Some(child), served: Arc::default() };
        wait_until("the proxy listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        proxy
    }

    /// `proxy.url` for it.
    pub fn url(&self, credentials: Option<(&str, &str)>) -> String {
        let scheme = if self.kind == Kind::Tinyproxy { "http" } else { "socks5" };
        let credentials = credentials.map_or_else(String::new, |(u, p)| format!("{u}:{}@", p.replace('-', "%2D")));
        format!("{scheme}://{credentials}127.0.0.1:{}", self.port)
    }

    /// Ways it opened; known of our own only.
    pub fn served(&self) -> Option<usize> {
        (self.kind == Kind::Own).then(|| self.served.load(Ordering::SeqCst))
    }

    /// True when this proxy, and nobody else here, can resolve [`NAME`].
    pub fn knows_the_name(&self, dir: &Path) -> bool {
        self.kind == Kind::Own || own_hosts(dir)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Dante's helpers end with their parent on TERM, not on KILL.
            let _ =
                rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::TERM);
            std::thread::sleep(std::time::Duration::from_millis(100));
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Writes a hosts file for the proxy; true when a process can be given one of its own (needs the right to mount).
fn own_hosts(dir: &Path) -> bool {
    let hosts = dir.join("hosts");
    std::fs::write(&hosts, format!("127.0.0.1 localhost {NAME}\n::1 localhost\n")).unwrap();
    Command::new("unshare")
        .args(["-m", "sh", "-c", "mount --bind \"$0\" /etc/hosts"])
        .arg(hosts)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|s| s.success())
}

/// A SOCKS5 server in this process: names lead to 127.0.0.1.
fn own(auth: bool, served: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let served = Arc::clone(&served);
            std::thread::spawn(move || serve(client, auth, &served));
        }
    });
    port
}

fn serve(mut client: TcpStream, auth: bool, served: &AtomicUsize) -> std::io::Result<()> {
    let byte = |client: &mut TcpStream| {
        let mut b = [0];
        client.read_exact(&mut b).map(|()| b[0])
    };
    let text = |client: &mut TcpStream| {
        let n = byte(client)?;
        let mut t = vec![0; usize::from(n)];
        client.read_exact(&mut t).map(|()| t)
    };
    let mut version = [0];
    client.read_exact(&mut version)?;
    let offered = text(&mut client)?;
    if !auth {
        client.write_all(&[5, 0])?;
    } else if offered.contains(&2) {
        client.write_all(&[5, 2])?;
        client.read_exact(&mut version)?;
        let (user, password) = (text(&mut client)?, text(&mut client)?);
        let right = user == USER.as_bytes() && password == PASSWORD.as_bytes();
        client.write_all(&[1, u8::from(!right)])?;
        if !right {
            return Ok(());
        }
    } else {
        return client.write_all(&[5, 255]);
    }
    let mut head = [0; 4];
    client.read_exact(&mut head)?;
    let host = match head[3] {
        1 => {
            let mut ip = [0; 4];
            client.read_exact(&mut ip)?;
            std::net::IpAddr::from(ip)
        }
        4 => {
            let mut ip = [0; 16];
            client.read_exact(&mut ip)?;
            std::net::IpAddr::from(ip)
        }
        _ => {
            text(&mut client)?;
            std::net::IpAddr::from([127, 0, 0, 1])
        }
    };
    let mut port = [0; 2];
    client.read_exact(&mut port)?;
    let Ok(mut server) = TcpStream::connect((host, u16::from_be_bytes(port))) else {
        return client.write_all(&[5, 5, 0, 1, 0, 0, 0, 0, 0, 0]);
    };
    client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    served.fetch_add(1, Ordering::SeqCst);
    let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(std::net::Shutdown::Both);
    });
    let done = std::io::copy(&mut client, &mut server).map(|_| ());
    let _ = server.shutdown(std::net::Shutdown::Both);
    done
}
