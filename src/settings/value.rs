//! Kinds of values, for `deserialize_with`: each says what is wrong with another one, and what would pass.

use serde::de::{Deserialize, Deserializer, Error};
use toml::Value;

use crate::secret::DatabaseUrl;

/// An error of `what` is wrong and the `fix` that would pass, as [`crate::Source::section`] reports it.
pub fn refuse<E: Error>(what: impl std::fmt::Display, fix: impl std::fmt::Display) -> E {
    E::custom(format_args!("{what}\n{fix}"))
}

/// A whole number from `MIN` to `MAX`, which `T` must hold.
///
/// # Errors
/// Anything else.
pub fn int<'de, const MIN: u64, const MAX: u64, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let fix = format!("write a whole number from {MIN} to {MAX}");
    match Value::deserialize(d)? {
        Value::Integer(n) => u64::try_from(n)
            .ok()
            .filter(|n| (MIN..=MAX).contains(n))
            .and_then(|n| T::try_from(n).ok())
            .ok_or_else(|| refuse(format!("{n} is out of range"), fix)),
        other => Err(refuse(format!("{other} is not a whole number"), fix)),
    }
}

/// [`int`] in units of 2^`SHIFT` bytes, as bytes.
///
/// # Errors
/// As [`int`].
pub fn bytes<'de, const MIN: u64, const MAX: u64, const SHIFT: u32, D, T>(d: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let n = int::<MIN, MAX, D, u64>(d)?;
    T::try_from(n << SHIFT).map_err(|_| refuse(format!("{n} is out of range"), "write less"))
}

/// A key that may be left out: [`int`].
#[derive(Clone, Copy, Debug)]
pub struct Int<const MIN: u64, const MAX: u64>(pub u64);

impl<'de, const MIN: u64, const MAX: u64> Deserialize<'de> for Int<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        int::<MIN, MAX, D, u64>(d).map(Self)
    }
}

/// One of `words`.
///
/// # Errors
/// Any other text.
pub fn one_of<E: Error>(got: &str, words: &[&str]) -> Result<(), E> {
    if words.contains(&got) {
        return Ok(());
    }
    let list = words.iter().map(|w| format!("{w:?}")).collect::<Vec<_>>().join(", ");
    Err(refuse(format!("{got:?} is not one of its values"), format!("write one of {list}")))
}

/// A text; `""` = none.
///
/// # Errors
/// What is no text.
pub fn filled<'de, D: Deserializer<'de>, T: From<String>>(d: D) -> Result<Option<T>, D::Error> {
    String::deserialize(d).map(|text| (!text.is_empty()).then(|| text.into()))
}

/// The name of an environment variable that holds a secret; messages show it, so it must not be the secret itself.
///
/// # Errors
/// What is no such name, or looks like a secret.
pub fn variable<'de, D: Deserializer<'de>>(d: D) -> Result<Option<String>, D::Error> {
    let Some(name) = filled::<D, String>(d)? else { return Ok(None) };
    let is_name = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') && name.len() <= 40;
    let is_random = name.len() >= 16 && !name.contains('_') && name.contains(|c: char| c.is_ascii_digit());
    if is_name && !is_random && !name.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(Some(name));
    }
    Err(refuse(
        "is no name of an environment variable; is it the secret itself?",
        "write the name of a variable that holds it, of letters, digits and _",
    ))
}

/// The URL of a database; `file` begins what would pass, with an embedded one.
///
/// # Errors
/// What is no database, or has an `@` in its password.
pub fn database<'de, D: Deserializer<'de>>(d: D, file: &str) -> Result<DatabaseUrl, D::Error> {
    let text = String::deserialize(d)?;
    let schemes = ["sqlite:", "postgres://", "postgresql://"];
    if !schemes.iter().any(|s| text.strip_prefix(s).is_some_and(|rest| !rest.is_empty())) {
        return Err(refuse(format!("{text:?} is no database"), format!("{file} \"postgres://user@host/name\"")));
    }
    if text.split_once("://").is_some_and(|(_, rest)| rest.matches('@').count() > 1) {
        // The client would take the rest of the password for the host, and name it.
        return Err(refuse("has an @ in its user name or password", "write it as %40"));
    }
    Ok(DatabaseUrl::new(text))
}
