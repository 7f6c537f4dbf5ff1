//! Blobs as objects below a key prefix of their own.

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::ResponseChecksumValidation;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;

use super::options::Patience;
use super::{S3Options, failed, status};
use crate::blobs::{self, check_kept, check_length, check_name, check_prefix, header, limit};
use crate::error::Error;
use crate::port::Blobs;

/// Follows the options' own prefix, so that no media id is ever taken for a blob, and a bucket's rules can tell them apart.
const PREFIX: &str = "snapshots/";

/// A bucket's blobs, under `snapshots/`. The right must cover `s3:DeleteObject` below it, beside what media needs.
pub struct S3Blobs {
    client: Client,
    bucket: String,
    prefix: String,
}

impl S3Blobs {
    /// A client over HTTP(S). Connects at the first call.
    ///
    /// # Errors
    /// [`Error::Configuration`] for options that can't work.
    pub fn new(options: S3Options) -> Result<Self, Error> {
        options.check()?;
        // A blob carries its own checksum.
        let config = options.client_config(&Patience::BLOB, None).to_builder();
        let config = config.response_checksum_validation(ResponseChecksumValidation::WhenRequired).build();
        let client = Client::from_conf(config);
        Ok(Self { client, bucket: options.bucket, prefix: options.prefix + PREFIX })
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// What takes a while for hundreds of megabytes, and must hold up nobody else.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Error::Unavailable { source: error.into() })
}

#[async_trait]
impl Blobs for S3Blobs {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Error> {
        check_name(name)?;
        check_length(bytes.len())?;
        let kept = aside(move || [&header(&bytes), &bytes[..]].concat()).await?;
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(name))
            .content_type("application/octet-stream")
            .body(ByteStream::from(kept));
        request.send().await.map_err(failed)?;
        Ok(())
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        check_name(name)?;
        let request = self.client.get_object().bucket(&self.bucket).key(self.key(name));
        let object = match request.send().await {
            Ok(object) => object,
            Err(error) if status(&error) == Some(404) => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        check_kept(object.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or(u64::MAX))?;
        let body = object.body.collect().await;
        let kept = body.map_err(|error| Error::Unavailable { source: error.into() })?.into_bytes();
        let name = name.to_owned();
        aside(move || blobs::open(&name, &kept).map(Some)).await?
    }

    async fn list(&self, prefix: &str, wanted: usize) -> Result<Vec<String>, Error> {
        check_prefix(prefix)?;
        let wanted = limit(wanted);
        let (mut names, mut token) = (Vec::new(), None);
        // A server may give fewer than asked for, and say how to go on.
        while names.len() < wanted {
            let request = self
                .client
                .list_objects_v2()
                .bucket(&self.bucket)
                .prefix(self.key(prefix))
                .max_keys(i32::try_from(wanted - names.len()).unwrap_or(i32::MAX))
                .set_continuation_token(token);
            let page = request.send().await.map_err(failed)?;
            let keys = page.contents().iter().filter_map(|object| object.key());
            let ours = keys.filter_map(|key| key.strip_prefix(&self.prefix));
            // What somebody else put there is no blob.
            names.extend(ours.filter(|name| check_name(name).is_ok()).map(str::to_owned));
            token = page.next_continuation_token().map(str::to_owned);
            if token.is_none() {
                break;
            }
        }
        names.truncate(wanted);
        Ok(names)
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        let request = self.client.delete_object().bucket(&self.bucket).key(self.key(name));
        match request.send().await {
            Err(error) if status(&error) != Some(404) => Err(failed(error)),
            _ => Ok(()),
        }
    }
}
