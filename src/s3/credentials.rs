//! Who we are to the store: the variables that `[store]` names, then the file of the AWS tools, then what the platform
//! gives (a web identity, a container's or an instance's role). Never in a log line, an error or `Debug`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, AwsCredential};
use wal_format::regular;

use crate::settings::Settings;

/// What the variables are called when nobody says otherwise, by Amazon's tools and here.
const USUAL: [&str; 2] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"];
/// Tools write new keys into the file now and then: it is read again after this long.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// What the platform says in variables of its own, and whose setting it is.
const PLATFORM: [(&str, AmazonS3ConfigKey); 8] = [
    ("AWS_WEB_IDENTITY_TOKEN_FILE", AmazonS3ConfigKey::WebIdentityTokenFile),
    ("AWS_ROLE_ARN", AmazonS3ConfigKey::RoleArn),
    ("AWS_ROLE_SESSION_NAME", AmazonS3ConfigKey::RoleSessionName),
    ("AWS_ENDPOINT_URL_STS", AmazonS3ConfigKey::StsEndpoint),
    ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", AmazonS3ConfigKey::ContainerCredentialsRelativeUri),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", AmazonS3ConfigKey::ContainerCredentialsFullUri),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", AmazonS3ConfigKey::ContainerAuthorizationTokenFile),
    ("AWS_METADATA_ENDPOINT", AmazonS3ConfigKey::MetadataEndpoint),
];

/// Nobody says who we are, or only in part.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// A variable is not set.
    #[error(
        "the environment variable {name} that [store] {key} names is not set; set it to the key, or name another one"
    )]
    Variable {
        /// The variable.
        name: String,
        /// The key that names it.
        key: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot read the credentials file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file has not what is asked of it.
    #[error(
        "the credentials file {} has no profile {profile:?} with aws_access_key_id and aws_secret_access_key (AWS_PROFILE chooses another one)",
        path.display()
    )]
    Profile {
        /// The file.
        path: PathBuf,
        /// The profile.
        profile: String,
    },
}

/// Where the keys come from.
pub(crate) enum Source {
    /// Variables.
    Keys(Keys),
    /// A profile of a file.
    File(Arc<Profile>),
    /// The platform: what its variables say.
    Platform(Vec<(AmazonS3ConfigKey, String)>),
}

/// An access key with its secret.
pub(crate) struct Keys {
    access: String,
    secret: String,
    token: Option<String>,
}

/// Finds the keys that `settings` and the environment (`env`) name.
pub(crate) fn of(settings: &Settings, env: &dyn Fn(&str) -> Option<String>) -> Result<Source, CredentialsError> {
    if let Some([access, secret]) = &settings.keys {
        let (access, secret) = (access.reveal().to_owned(), secret.reveal().to_owned());
        return Ok(Source::Keys(Keys { access, secret, token: None }));
    }
    if let (Some(access_env), Some(secret_env)) = (&settings.access_key_env, &settings.secret_key_env) {
        let unset = |name: &str, key| CredentialsError::Variable { name: name.to_owned(), key };
        match (env(access_env), env(secret_env)) {
            (Some(access), Some(secret)) => {
                let token = settings.session_token_env.as_deref().and_then(env);
                return Ok(Source::Keys(Keys { access, secret, token }));
            }
            (Some(_), None) => return Err(unset(secret_env, "secret_key_env")),
            (None, Some(_)) => return Err(unset(access_env, "access_key_env")),
            (None, None) if [access_env.as_str(), secret_env.as_str()] != USUAL => {
                return Err(unset(access_env, "access_key_env"));
            }
            (None, None) => {}
        }
    }
    let named = env("AWS_SHARED_CREDENTIALS_FILE").map(PathBuf::from);
    let profile = env("AWS_PROFILE");
    let must = named.is_some() || profile.is_some();
    let usual = || Some(Path::new(&env("HOME")?).join(".aws/credentials"));
    if let Some(path) = named.or_else(usual) {
        let file = Profile::new(path, profile.unwrap_or("default".to_owned()));
        match file.read() {
            Ok(_) => return Ok(Source::File(Arc::new(file))),
            // Nobody said that there is such a file, or that profile in it.
            Err(CredentialsError::Profile { .. }) if !must => {}
            Err(CredentialsError::File { source, .. }) if !must && source.kind() == std::io::ErrorKind::NotFound => {}
            Err(err) => return Err(err),
        }
    }
    Ok(Source::Platform(PLATFORM.iter().filter_map(|(name, key)| Some((*key, env(name)?))).collect()))
}

impl Source {
    /// Tells `builder`.
    pub(crate) fn give(self, builder: AmazonS3Builder) -> AmazonS3Builder {
        match self {
            Self::Keys(Keys { access, secret, token }) => {
                let builder = builder.with_access_key_id(access).with_secret_access_key(secret);
                if let Some(token) = token { builder.with_token(token) } else { builder }
            }
            Self::File(profile) => builder.with_credentials(profile),
            Self::Platform(said) => said.into_iter().fold(builder, |b, (key, value)| b.with_config(key, value)),
        }
    }
}

/// A profile of a credentials file.
pub(crate) struct Profile {
    path: PathBuf,
    name: String,
    read: Mutex<Option<(Arc<AwsCredential>, Instant)>>,
}

impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profile({} of {})", self.name, self.path.display())
    }
}

impl Profile {
    fn new(path: PathBuf, name: String) -> Self {
        Self { path, name, read: Mutex::new(None) }
    }

    fn read(&self) -> Result<Keys, CredentialsError> {
        let path = &self.path;
        let text = regular::read_to_string(path, regular::SMALL_BYTES_MAX)
            .map_err(|source| CredentialsError::File { path: path.clone(), source })?;
        keys_of(&text, &self.name)
            .ok_or_else(|| CredentialsError::Profile { path: path.clone(), profile: self.name.clone() })
    }
}

#[async_trait]
impl CredentialProvider for Profile {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, at)) = read.as_ref()
            && at.elapsed() < READ_AGAIN
        {
            return Ok(Arc::clone(known));
        }
        let Keys { access, secret, token } =
            self.read().map_err(|err| object_store::Error::Generic { store: "S3", source: Box::new(err) })?;
        let credential = Arc::new(AwsCredential { key_id: access, secret_key: secret, token });
        *read = Some((Arc::clone(&credential), Instant::now()));
        Ok(credential)
    }
}

/// The keys of profile `name` in a file of sections: `[name]`, then `key = value` lines; `#` and `;` begin remarks.
fn keys_of(text: &str, name: &str) -> Option<Keys> {
    let (mut access, mut secret, mut token) = (None, None, None);
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            inside = section.trim() == name;
            continue;
        }
        if !inside || line.starts_with(['#', ';']) {
            continue;
        }
        let Some((key, value)) = line.split_once('=') else { continue };
        let value = Some(value.trim().to_owned()).filter(|value| !value.is_empty());
        match key.trim() {
            "aws_access_key_id" => access = value,
            "aws_secret_access_key" => secret = value,
            "aws_session_token" => token = value,
            _ => {}
        }
    }
    Some(Keys { access: access?, secret: secret?, token })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use super::*;

    fn settings(keys: &str) -> Settings {
        let shipped = "endpoint = \"\"\nregion = \"\"\nsession_token_env = \"AWS_SESSION_TOKEN\"\nallow_http = false\nproxy_url = \"\"\nconnect_timeout_s = 5\nanswer_timeout_s = 30\nretry_s = 20\n";
        ::settings::from_text(&format!("[store]\n{shipped}{keys}"), |source, p| source.section("store", p)).unwrap()
    }

    fn env<'a>(all: &'a [(&'a str, &'a str)]) -> impl Fn(&str) -> Option<String> + 'a {
        let all: BTreeMap<_, _> = all.iter().copied().collect();
        move |name| all.get(name).map(|value| (*value).to_owned())
    }

    const USUAL_KEYS: &str = "access_key_env = \"AWS_ACCESS_KEY_ID\"\nsecret_key_env = \"AWS_SECRET_ACCESS_KEY\"\n";

    #[test]
    fn named_variables_come_first_and_one_that_is_not_set_is_named_without_its_value() {
        let desk = settings("access_key_env = \"DESK_KEY\"\nsecret_key_env = \"DESK_SECRET\"\n");
        let all = [("DESK_KEY", "k1"), ("DESK_SECRET", "s1"), ("AWS_SESSION_TOKEN", "t1")];
        assert!(
            matches!(of(&desk, &env(&all)), Ok(Source::Keys(k)) if k.secret == "s1" && k.token.as_deref() == Some("t1"))
        );
        let err = of(&desk, &env(&all[1..])).err().unwrap().to_string();
        assert!(err.contains("DESK_KEY") && err.contains("access_key_env") && !err.contains("s1"), "{err}");
        let err = of(&desk, &env(&[("HOME", "/nowhere")])).err().unwrap().to_string();
        assert!(err.contains("DESK_KEY"), "what is named and not set is no reason to look elsewhere: {err}");
        let usual = settings(USUAL_KEYS);
        let err = of(&usual, &env(&[("AWS_ACCESS_KEY_ID", "k")])).err().unwrap().to_string();
        assert!(err.contains("AWS_SECRET_ACCESS_KEY"), "{err}");
    }

    #[test]
    fn then_comes_the_profile_of_the_file_and_then_the_platform() {
        let home = tempfile::tempdir().unwrap();
        let usual = settings(USUAL_KEYS);
        let at_home = home.path().display().to_string();
        let platform = [("HOME", at_home.as_str()), ("AWS_ROLE_ARN", "arn:x"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/t")];
        assert!(matches!(of(&usual, &env(&platform)), Ok(Source::Platform(said)) if said.len() == 2));
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        let text = "# mine\n[default]\naws_access_key_id = k2\naws_secret_access_key=s2==\n[desk]\naws_access_key_id = k3\naws_secret_access_key = s3\naws_session_token = t3\n";
        std::fs::write(home.path().join(".aws/credentials"), text).unwrap();
        let keys = |all: &[(&str, &str)]| match of(&usual, &env(all)) {
            Ok(Source::File(profile)) => profile.read().map(|keys| (keys.access, keys.secret, keys.token)),
            Ok(_) => panic!("not of the file"),
            Err(err) => Err(err),
        };
        assert_eq!(keys(&platform).unwrap(), ("k2".into(), "s2==".into(), None));
        let desk = [("HOME", at_home.as_str()), ("AWS_PROFILE", "desk")];
        assert_eq!(keys(&desk).unwrap(), ("k3".into(), "s3".into(), Some("t3".into())));
        let err = keys(&[("HOME", at_home.as_str()), ("AWS_PROFILE", "nobody")]).unwrap_err().to_string();
        assert!(err.contains("\"nobody\"") && !err.contains("s2"), "{err}");
    }
}
