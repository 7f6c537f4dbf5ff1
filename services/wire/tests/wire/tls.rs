//! Mutual TLS between processes: who isn't vouched for is neither heard nor told.

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use parley_domain::KeyId;
use parley_wire::rpc::{Channels, Forgets, Roles, Tls, serve};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// An authority.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Who trusts this authority, and is vouched for by another, or the same, under a name.
    fn trusted_by(&self, by: &Self, name: &str) -> Tls {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &by.0).unwrap();
        Tls::new(self.0.pem().as_bytes(), certificate.pem().as_bytes(), key.serialize_pem().as_bytes())
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<KeyId>>);

impl Forgets for Told {
    fn forget(&self, keys: &[KeyId]) {
        self.0.lock().extend(keys);
    }
}

/// A process, and what it was told.
struct Process {
    address: SocketAddr,
    told: Arc<Told>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    async fn start(tls: Tls) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, told) = (listener.local_addr().unwrap(), Arc::new(Told::default()));
        let (roles, stop) =
            (Roles { keys: Some(told.clone()), ..Roles::default() }, CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move { serve(listener, Some(&tls), roles, stopped).await.unwrap() });
        Self { address, told, stop, task }
    }

    /// Whether somebody can tell it something.
    async fn hears(&self, caller: Option<Tls>) -> bool {
        Channels::new(caller)
            .forget_keys(&self.address.to_string(), &[KeyId::from_bytes([1; 16])])
            .await
            .is_ok()
    }

    async fn stop(self) -> usize {
        self.stop.cancel();
        self.task.await.unwrap();
        self.told.0.lock().len()
    }
}

/// Invariant: processes talk only to those whom their authority vouches for.
#[tokio::test]
async fn only_processes_that_are_vouched_for_are_heard_and_told() {
    let (own, strange) = (Authority::new(), Authority::new());
    let process = Process::start(own.trusted_by(&own, "parley")).await;
    assert!(process.hears(Some(own.trusted_by(&own, "parley"))).await);
    assert!(!process.hears(None).await, "without a certificate");
    assert!(!process.hears(Some(own.trusted_by(&strange, "parley"))).await, "with a stranger's");
    assert!(!process.hears(Some(strange.trusted_by(&own, "parley"))).await, "whom the caller doesn't trust");
    assert_eq!(process.stop().await, 1);

    let other = Process::start(own.trusted_by(&own, "somebody")).await;
    assert!(!other.hears(Some(own.trusted_by(&own, "parley"))).await, "who has another name isn't told");
    assert_eq!(other.stop().await, 0);
}
