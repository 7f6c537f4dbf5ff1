//! The four S3 operations that this server knows. Every other one is refused by `s3s` (`NotImplemented`).

use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt as _;
use parley_domain::MediaId;
use s3s::dto::{
    ETag, GetObjectInput, GetObjectOutput, HeadBucketInput, HeadBucketOutput, HeadObjectInput,
    HeadObjectOutput, Metadata, PutObjectInput, PutObjectOutput, StreamingBlob, Timestamp,
};
use s3s::{S3, S3Error, S3Request, S3Response, S3Result, s3_error};
use tokio::time::timeout;
use tokio_util::io::ReaderStream;

use super::BUCKET;
use super::objects::{Found, Header, Objects, UploadError};
use super::uploads::{Uploads, time_for};
use crate::content::{disposition, is_content_type};
use crate::providers::s3::{META_GROUP, META_UPLOADER};

/// A client that sends nothing for so long is given up.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How long a body is read whose upload has no place.
const REFUSED_WAIT: Duration = Duration::from_secs(5);
/// Chunk of a download.
const CHUNK_BYTES: usize = 64 * 1024;
/// What an upload's signature must cover. Without this, whoever holds a URL could leave out or change the rest.
const SIGNED: [&str; 7] = [
    "host",
    "content-type",
    "content-length",
    "if-none-match",
    "x-amz-checksum-sha256",
    "x-amz-meta-parley-group",
    "x-amz-meta-parley-uploader",
];

/// The operations over the directory.
pub(super) struct Server {
    objects: Objects,
    bytes_max: u64,
    uploads: Uploads,
}

impl Server {
    pub(super) fn new(objects: Objects, bytes_max: u64) -> Self {
        Self { objects, bytes_max, uploads: Uploads::default() }
    }

    async fn put(&self, req: S3Request<PutObjectInput>) -> Result<PutObjectOutput, Failure> {
        let signed = signed_headers(req.uri.query().unwrap_or_default());
        if !SIGNED.iter().all(|name| signed.iter().any(|have| have == name)) {
            return Err(s3_error!(AccessDenied, "the signature must cover what is uploaded").into());
        }
        let mut input = req.input;
        check_bucket(&input.bucket)?;
        let media_id = media_id(&input.key).ok_or_else(|| s3_error!(AccessDenied, "not a media id"))?;
        let mut body = input.body.take().ok_or_else(|| s3_error!(IncompleteBody))?;
        let header = announced(&input, self.bytes_max)?;
        let e_tag = e_tag(&header);
        if self.objects.exists(media_id).await? {
            // Read to the end, or the client would see a broken connection instead of this answer.
            drain(&mut body, header.content_length).await;
            return Err(UploadError::Exists.into());
        }
        self.store(media_id, header, &mut body).await?;
        Ok(PutObjectOutput {
            e_tag: Some(e_tag),
            checksum_sha256: input.checksum_sha256,
            ..PutObjectOutput::default()
        })
    }

    async fn store(
        &self,
        media_id: MediaId,
        header: Header,
        body: &mut StreamingBlob,
    ) -> Result<(), Failure> {
        let Some(_place) = self.uploads.enter(&header.uploader) else {
            // As above; whether that succeeds is the client's affair.
            let _ = timeout(REFUSED_WAIT, drain(body, header.content_length)).await;
            return Err(s3_error!(SlowDown).into());
        };
        let time = time_for(header.content_length);
        let mut upload = self.objects.begin(media_id, header).await?;
        let taking = async {
            while let Some(bytes) = next(body).await? {
                upload.write(&bytes).await?;
            }
            Ok::<_, Failure>(())
        };
        timeout(time, taking).await.map_err(|_| s3_error!(RequestTimeout))??;
        Ok(upload.finish().await?)
    }

    async fn get(&self, input: GetObjectInput) -> Result<GetObjectOutput, Failure> {
        let found = self.found(&input.bucket, &input.key).await?;
        let (header, modified) = (found.header.clone(), found.modified);
        let total = header.content_length;
        let (start, length, content_range) = match input.range {
            None => (0, total, None),
            Some(range) => {
                let part = range.check(total).map_err(S3Error::from)?;
                let last = part.end.saturating_sub(1);
                let text = format!("bytes {}-{last}/{total}", part.start);
                (part.start, part.end.saturating_sub(part.start), Some(text))
            }
        };
        let checksum = content_range.is_none().then(|| STANDARD.encode(header.sha256));
        let file = found.read(start, length).await?;
        Ok(GetObjectOutput {
            accept_ranges: Some("bytes".to_owned()),
            body: Some(StreamingBlob::wrap(ReaderStream::with_capacity(file, CHUNK_BYTES))),
            // The URL is the right to read, so nobody but its holder's browser may keep the answer.
            cache_control: Some("private, max-age=3600".to_owned()),
            checksum_sha256: checksum,
            content_disposition: Some(disposition(&header.content_type).to_owned()),
            content_length: i64::try_from(length).ok(),
            content_range,
            e_tag: Some(e_tag(&header)),
            last_modified: Some(Timestamp::from(modified)),
            content_type: Some(header.content_type),
            ..GetObjectOutput::default()
        })
    }

    async fn head(&self, input: HeadObjectInput) -> Result<HeadObjectOutput, Failure> {
        let found = self.found(&input.bucket, &input.key).await?;
        let header = found.header;
        Ok(HeadObjectOutput {
            checksum_sha256: Some(STANDARD.encode(header.sha256)),
            content_length: i64::try_from(header.content_length).ok(),
            e_tag: Some(e_tag(&header)),
            last_modified: Some(Timestamp::from(found.modified)),
            metadata: Some(Metadata::from_iter([
                (META_GROUP.to_owned(), header.group),
                (META_UPLOADER.to_owned(), header.uploader),
            ])),
            content_type: Some(header.content_type),
            ..HeadObjectOutput::default()
        })
    }

    async fn found(&self, bucket: &str, key: &str) -> Result<Found, Failure> {
        check_bucket(bucket)?;
        let media_id = media_id(key).ok_or_else(|| s3_error!(NoSuchKey))?;
        Ok(self.objects.find(media_id).await?.ok_or_else(|| s3_error!(NoSuchKey))?)
    }

    async fn check(&self, bucket: &str) -> Result<HeadBucketOutput, Failure> {
        check_bucket(bucket)?;
        self.objects.check().await?;
        Ok(HeadBucketOutput::default())
    }
}

#[async_trait::async_trait]
impl S3 for Server {
    async fn put_object(&self, req: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let trouble = Trouble::of(&req);
        self.put(req).await.map(S3Response::new).map_err(|failure| trouble.answer(failure))
    }

    async fn get_object(&self, req: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let trouble = Trouble::of(&req);
        self.get(req.input).await.map(S3Response::new).map_err(|failure| trouble.answer(failure))
    }

    async fn head_object(&self, req: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let trouble = Trouble::of(&req);
        self.head(req.input).await.map(S3Response::new).map_err(|failure| trouble.answer(failure))
    }

    async fn head_bucket(&self, req: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        let trouble = Trouble::of(&req);
        self.check(&req.input.bucket).await.map(S3Response::new).map_err(|failure| trouble.answer(failure))
    }
}

/// Why an operation gives no result: a refusal for the client, or our own trouble.
enum Failure {
    Refused(S3Error),
    Io(io::Error),
}

impl From<S3Error> for Failure {
    fn from(error: S3Error) -> Self {
        Self::Refused(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<UploadError> for Failure {
    fn from(error: UploadError) -> Self {
        match error {
            UploadError::Mismatch => s3_error!(BadDigest, "other bytes than announced").into(),
            UploadError::Exists => s3_error!(PreconditionFailed, "something lies there already").into(),
            UploadError::Io(error) => error.into(),
        }
    }
}

/// Carries our own trouble past s3s to the caller, which may log; in here nothing is logged, see
/// [`answer`](super::service::MediaService::answer). The client learns only that it failed.
#[derive(Clone, Default)]
pub(super) struct Trouble(Arc<OnceLock<io::Error>>);

impl Trouble {
    fn of<T>(req: &S3Request<T>) -> Self {
        req.extensions.get::<Self>().cloned().unwrap_or_default()
    }

    fn answer(&self, failure: Failure) -> S3Error {
        match failure {
            Failure::Refused(error) => error,
            Failure::Io(error) => {
                let _ = self.0.set(error);
                s3_error!(InternalError)
            }
        }
    }

    /// What went wrong, if anything did.
    pub(super) fn get(&self) -> Option<&io::Error> {
        self.0.get()
    }
}

/// What the signed headers say of the object. All of it must be there.
fn announced(input: &PutObjectInput, bytes_max: u64) -> S3Result<Header> {
    if !input.if_none_match.as_ref().is_some_and(s3s::dto::ETagCondition::is_any) || input.if_match.is_some()
    {
        return Err(s3_error!(InvalidRequest, "If-None-Match: * is required"));
    }
    let content_length = input.content_length.and_then(|n| u64::try_from(n).ok());
    let content_length = content_length.ok_or_else(|| s3_error!(MissingContentLength))?;
    if content_length > bytes_max {
        return Err(s3_error!(EntityTooLarge));
    }
    let content_type = input.content_type.clone().filter(|text| is_content_type(text));
    let content_type = content_type.ok_or_else(|| s3_error!(InvalidArgument, "no usable content type"))?;
    let sha256 = input.checksum_sha256.as_ref().and_then(|text| STANDARD.decode(text).ok());
    let sha256 = sha256.and_then(|bytes| bytes.try_into().ok());
    let sha256 = sha256.ok_or_else(|| s3_error!(InvalidRequest, "x-amz-checksum-sha256 is required"))?;
    let metadata = |key: &str| {
        let value = input.metadata.as_ref().and_then(|all| all.get(key)).cloned();
        value.ok_or_else(|| s3_error!(InvalidRequest, "group and uploader are required"))
    };
    Ok(Header {
        content_type,
        content_length,
        sha256,
        group: metadata(META_GROUP)?,
        uploader: metadata(META_UPLOADER)?,
    })
}

/// A key is a media id in its one text form, so no key can name another file.
fn media_id(key: &str) -> Option<MediaId> {
    MediaId::parse(key).ok().filter(|id| id.to_string() == key)
}

/// The header names in a signed URL's query.
fn signed_headers(query: &str) -> Vec<String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-SignedHeaders="));
    let names = value.unwrap_or_default().replace("%3B", ";").replace("%3b", ";");
    names.split(';').map(str::to_owned).collect()
}

fn check_bucket(bucket: &str) -> S3Result<()> {
    if bucket == BUCKET { Ok(()) } else { Err(s3_error!(NoSuchBucket)) }
}

async fn next(body: &mut StreamingBlob) -> S3Result<Option<bytes::Bytes>> {
    match timeout(IDLE_MAX, body.next()).await {
        Ok(Some(Ok(bytes))) => Ok(Some(bytes)),
        Ok(Some(Err(_))) => Err(s3_error!(IncompleteBody)),
        Ok(None) => Ok(None),
        Err(_) => Err(s3_error!(RequestTimeout)),
    }
}

async fn drain(body: &mut StreamingBlob, bytes_max: u64) {
    let mut left = bytes_max;
    while let Ok(Some(bytes)) = next(body).await {
        match left.checked_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

fn e_tag(header: &Header) -> ETag {
    ETag::Strong(header.sha256.iter().map(|byte| format!("{byte:02x}")).collect())
}
