//! A cable that is cut in the middle of an upload: a relay that carries so many bytes to the device and then hangs up.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The relay; it ends when it is dropped.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Relay {
    /// Carries this many bytes towards the device over all connections together.
    pub(super) async fn start(endpoint: String, bytes: u64) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            let mut left = bytes;
            while let Ok((near, _)) = listener.accept().await {
                if left == 0 {
                    continue;
                }
                let Ok(far) = TcpStream::connect(&endpoint).await else { continue };
                carry(near, far, &mut left).await;
            }
        });
        Ok(Self { address, task })
    }
}

/// Carries both ways until one side ends or nothing is left to carry.
async fn carry(mut near: TcpStream, mut far: TcpStream, left: &mut u64) {
    let (mut up, mut down) = ([0_u8; 4096], [0_u8; 4096]);
    while *left > 0 {
        tokio::select! {
            got = near.read(&mut up) => {
                let Ok(got @ 1..) = got else { return };
                let fits = usize::try_from(*left).unwrap_or(usize::MAX).min(got);
                *left -= u64::try_from(fits).unwrap_or(*left);
                let Some(bytes) = up.get(..fits) else { return };
                if far.write_all(bytes).await.is_err() {
                    return;
                }
            }
            got = far.read(&mut down) => {
                let Ok(got @ 1..) = got else { return };
                let Some(bytes) = down.get(..got) else { return };
                if near.write_all(bytes).await.is_err() {
                    return;
                }
            }
        }
    }
}
