//! Postgres: the same tables on a server. Writers take turns by an advisory lock, as they do on SQLite.
//!
//! Connections are plain: no TLS. A server on another machine belongs behind a private network or a TLS tunnel
//! (stunnel, an SSH forward, a local pgbouncer with `server_tls_sslmode`), and its URL then names the tunnel's end.

use anyhow::{Context, Result};
use postgres::types::{ToSql, Type};
use postgres::{Client, Config, NoTls};

use super::row::{COLUMNS, Kind, Value};
use super::schema::{self, Dialect, Rule};
use super::store::Sql;

/// Key of the advisory lock of writers: "tape".
const LOCK: i64 = 0x7461_7065;

/// A connection, made again when it was lost.
pub(super) struct Postgres {
    config: Config,
    client: Client,
}

impl Postgres {
    /// Connects.
    pub(super) fn open(url: &str) -> Result<Self> {
        // The URL may hold a password: it is in no message.
        let mut config: Config = url.parse().context("the database URL is not understood")?;
        config.application_name("tapedeck");
        let client = connect(&config)?;
        Ok(Self { config, client })
    }

    /// The client, connected again when it was cut between two transactions.
    fn client(&mut self) -> Result<&mut Client> {
        if self.client.is_closed() {
            self.client = connect(&self.config)?;
        }
        Ok(&mut self.client)
    }
}

fn connect(config: &Config) -> Result<Client> {
    config.connect(NoTls).with_context(|| {
        let hosts = config.get_hosts();
        format!("cannot connect to the database at {hosts:?}, ports {:?}", config.get_ports())
    })
}

/// Our statements number their parameters as SQLite does.
fn numbered(sql: &str) -> String {
    sql.replace('?', "$")
}

fn refs<'a>(params: &'a [Value]) -> Vec<&'a (dyn ToSql + Sync)> {
    params
        .iter()
        .map(|v| -> &'a (dyn ToSql + Sync) {
            match v {
                Value::Null => &None::<i64>,
                Value::Int(v) => v,
                Value::Bool(v) => v,
                Value::Text(v) => v,
            }
        })
        .collect()
}

impl Sql for Postgres {
    fn dialect(&self) -> Dialect {
        schema::POSTGRES
    }

    fn begin(&mut self) -> Result<()> {
        let client = self.client()?;
        client.batch_execute("BEGIN")?;
        client.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK])?;
        Ok(())
    }

    fn batch(&mut self, sql: &str) -> Result<()> {
        Ok(self.client.batch_execute(sql)?)
    }

    fn execute(&mut self, sql: &str, params: &[Value]) -> Result<u64> {
        Ok(self.client.execute(&numbered(sql), &refs(params))?)
    }

    fn rows(&mut self, sql: &str, params: &[Value]) -> Result<Vec<Vec<Value>>> {
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

    /// One statement for all rows, its parameters one array per column.
    fn put_bars(&mut self, rows: &[Vec<Value>], rule: Rule) -> Result<u64> {
        let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
        let mut arrays = Vec::new();
        let mut taken = Vec::new();
        let mut params: Vec<Box<dyn ToSql + Sync>> = Vec::new();
        for (i, (_, kind)) in COLUMNS.iter().enumerate() {
            let column = || rows.iter().map(move |row| row.get(i));
            let texts = || -> Vec<Option<String>> {
                column().map(|v| v.and_then(|v| v.str().ok()).map(str::to_owned)).collect()
            };
            let n = i + 1;
            taken.push(if *kind == Kind::Number { format!("CAST(c{n} AS NUMERIC)") } else { format!("c{n}") });
            arrays.push(match kind {
                Kind::Text | Kind::Number => {
                    params.push(Box::new(texts()));
                    format!("${n}::text[]")
                }
                Kind::Int => {
                    params.push(Box::new(column().map(|v| v.and_then(|v| v.int().ok())).collect::<Vec<Option<i64>>>()));
                    format!("${n}::bigint[]")
                }
                Kind::Bool => {
                    let bools = column().map(|v| matches!(v, Some(Value::Bool(true)))).collect::<Vec<bool>>();
                    params.push(Box::new(bools));
                    format!("${n}::boolean[]")
                }
            });
        }
        let aliases: Vec<String> = (1..=names.len()).map(|n| format!("c{n}")).collect();
        let sql = format!(
            "INSERT INTO klines AS k ({}) SELECT {} FROM unnest({}) AS t ({}) {}",
            names.join(", "),
            taken.join(", "),
            arrays.join(", "),
            aliases.join(", "),
            schema::on_conflict(rule)
        );
        let params: Vec<&(dyn ToSql + Sync)> = params.iter().map(AsRef::as_ref).collect();
        Ok(self.client.execute(&sql, &params)?)
    }
}
