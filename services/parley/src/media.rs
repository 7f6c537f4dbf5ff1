//! The object store that the configuration names, for edges.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use parley_media::MediaStore;
use parley_media::providers::embedded::{EmbeddedMedia, EmbeddedOptions};
use parley_media::providers::s3::S3Media;
use parley_wire::clock;

use crate::config::Config;
use crate::engines::place;

/// The object store.
pub(crate) struct Media {
    pub(crate) store: Arc<dyn MediaStore>,
    /// The one in this process, if it is that.
    pub(crate) own: Option<Arc<EmbeddedMedia>>,
    /// Where its signed URLs lead.
    pub(crate) origin: String,
}

/// Opens it: objects as files of this process, in a directory that is `own` by default, unless it is S3.
///
/// # Errors
/// A configuration that can't be used, a directory that can't be written.
pub(crate) fn open(config: &Config, address: SocketAddr, own: PathBuf) -> anyhow::Result<Media> {
    if let Some(options) = config.s3_options()? {
        let origin = options.origin();
        let store = Arc::new(S3Media::new(options, Arc::new(clock::now))?);
        return Ok(Media { store, own: None, origin });
    }
    warn_if_unreachable(config, address);
    let public_url = match config.http.public_url.as_str() {
        "" => format!("http://{address}"),
        url => url.to_owned(),
    };
    let options = EmbeddedOptions {
        public_url: public_url.clone(),
        bytes_max: config.limits.media_bytes,
        clock: Arc::new(clock::now),
    };
    let media = Arc::new(EmbeddedMedia::open(&place(&config.media, own), options)?);
    Ok(Media { store: media.clone(), own: Some(media), origin: public_url })
}

/// Where clients reach media of this process, unless told otherwise: nobody reaches "every address".
fn warn_if_unreachable(config: &Config, address: SocketAddr) {
    if is_unreachable(&config.http.public_url, address) {
        tracing::warn!(
            "URLs of media begin with http://{address}, which is no address to clients: set http.public_url to what they call \
             this server"
        );
    }
}

fn is_unreachable(public_url: &str, address: SocketAddr) -> bool {
    public_url.is_empty() && address.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_is_none_to_clients() {
        for (public_url, address, is_unreachable_there) in [
            ("", "0.0.0.0:8080", true),
            ("", "[::]:8080", true),
            ("", "127.0.0.1:8080", false),
            ("https://chat.example", "0.0.0.0:8080", false),
        ] {
            assert_eq!(
                is_unreachable(public_url, address.parse().unwrap()),
                is_unreachable_there,
                "{address}"
            );
        }
    }
}
