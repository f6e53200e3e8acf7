//! Postgres: the same tables on a server. Writers that request it take turns by an advisory lock, as they do on SQLite.
//!
//! Connections are plain: no TLS. A server on another machine belongs behind a private network or a TLS tunnel
//! (stunnel, an SSH forward, a local pgbouncer with `server_tls_sslmode`), and its URL then names the tunnel's end.
//!
//! The client waits for its server by blocking, on a runtime of its own. Callers may be tasks of ours: every call, the
//! end of the connection too, is made as work that blocks, which a runtime of several threads allows anywhere.

use std::time::Duration;

use postgres::types::{IsNull, ToSql, Type};
use postgres::{Client, Config, NoTls};
use tokio::task::block_in_place;

use super::error::{Result, SqlError};
use super::{Sql, Value};

/// Begins a transaction that a client which sleeps in the middle of it (its process stopped, its machine suspended) does
/// not keep others waiting for: the server ends it, and its connection, after half a minute without a statement.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = 30000";

/// A server whose machine answers nothing for so long, not even that it received, is gone: whoever waits for it gets an
/// error and tries again, instead of waiting for as long as the kernel would (hours, or for ever while nothing is sent).
const SILENCE: Duration = Duration::from_secs(30);

/// A connection, made again when it was lost.
pub struct Postgres {
    config: Config,
    /// `None` only while it is dropped.
    client: Option<Client>,
    /// Key of the advisory lock that every transaction takes first.
    lock: Option<i64>,
    /// A connection that is lost now must not be made again: its transaction is lost with it.
    in_transaction: bool,
}

impl Postgres {
    /// Connects. With `lock`, transactions that name the same key take turns.
    pub fn open(url: &str, lock: Option<i64>) -> Result<Self> {
        // The URL may hold a password: it is in no message.
        let mut config: Config = url.parse().map_err(SqlError::Url)?;
        config.application_name("tapedeck");
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(SILENCE);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE);
        }
        config.keepalives_idle(SILENCE).keepalives_interval(SILENCE / 3).keepalives_retries(3);
        let client = Some(connect(&config)?);
        Ok(Self { config, client, lock, in_transaction: false })
    }

    /// The client, connected again when it was closed between two transactions.
    pub fn client(&mut self) -> Result<&mut Client> {
        if self.client.as_ref().is_none_or(Client::is_closed) && !self.in_transaction {
            self.client = Some(connect(&self.config)?);
        }
        self.client.as_mut().ok_or(SqlError::Lost)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        block_in_place(|| self.client = None);
    }
}

fn connect(config: &Config) -> Result<Client> {
    let (hosts, ports) = (config.get_hosts().to_vec(), config.get_ports().to_vec());
    block_in_place(|| config.connect(NoTls)).map_err(|source| SqlError::Connect { hosts, ports, source })
}

/// Our statements number their parameters as SQLite does.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$")
}

/// NULL for a parameter of any type.
#[derive(Debug)]
struct Nothing;

impl ToSql for Nothing {
    fn to_sql(
        &self,
        _: &Type,
        _: &mut bytes::BytesMut,
    ) -> std::result::Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        Ok(IsNull::Yes)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    postgres::types::to_sql_checked!();
}

fn refs<'a>(params: &'a [Value]) -> Vec<&'a (dyn ToSql + Sync)> {
    params
        .iter()
        .map(|v| -> &'a (dyn ToSql + Sync) {
            match v {
                Value::Null => &Nothing,
                Value::Int(v) => v,
                Value::Bool(v) => v,
                Value::Text(v) => v,
            }
        })
        .collect()
}

impl Sql for Postgres {
    fn begin(&mut self) -> Result<()> {
        block_in_place(|| self.begin_now())
    }

    fn batch(&mut self, sql: &str) -> Result<()> {
        block_in_place(|| self.batch_now(sql))
    }

    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        block_in_place(|| self.execute_now(sql, params))
    }

    fn rows(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>> {
        block_in_place(|| self.rows_now(sql, params))
    }
}

impl Postgres {
    fn begin_now(&mut self) -> Result<()> {
        let lock = self.lock;
        self.in_transaction = false;
        let client = self.client()?;
        client.batch_execute(BEGIN)?;
        if let Some(key) = lock
            && let Err(err) = client.execute("SELECT pg_advisory_xact_lock($1)", &[&key])
        {
            // It fails when the connection is gone, and then there is nothing left to undo.
            let _ = client.batch_execute("ROLLBACK");
            return Err(err.into());
        }
        self.in_transaction = true;
        Ok(())
    }

    fn batch_now(&mut self, sql: &str) -> Result<()> {
        let done = self.client()?.batch_execute(sql);
        if sql == "COMMIT" || sql == "ROLLBACK" {
            self.in_transaction = false;
        }
        Ok(done?)
    }

    fn execute_now(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        Ok(self.client()?.execute(&numbered(sql), &refs(params))?)
    }

    fn rows_now(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>> {
        let found = self.client()?.query(&numbered(sql), &refs(params))?;
        let value = |row: &postgres::Row, i: usize| -> Result<Value> {
            let column = row.columns().get(i).map(postgres::Column::type_);
            Ok(match column {
                Some(&Type::INT8) => row.try_get::<_, Option<i64>>(i)?.map_or(Value::Null, Value::Int),
                Some(&Type::BOOL) => row.try_get::<_, Option<bool>>(i)?.map_or(Value::Null, Value::Bool),
                _ => row.try_get::<_, Option<String>>(i)?.map_or(Value::Null, Value::Text),
            })
        };
        found.iter().map(|row| (0..row.len()).map(|i| value(row, i)).collect()).collect()
    }
}
