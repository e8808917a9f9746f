//! The socket of a simulated device: there while the device is there, and gone with all its connections when it is not.

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::protocol::ProtocolName;
use tokio::net::{TcpListener, TcpStream};

use super::device::Device;
use super::{generic, http, modbus, onvif, toledo};

/// Somebody may have taken the address while the device was away: tried again after so long.
const BIND_AGAIN: Duration = Duration::from_millis(50);

/// Serves the device for as long as the simulator runs.
pub(super) async fn serve(device: Arc<Device>, first: TcpListener) {
    let mut listener = Some(first);
    let mut link = device.link();
    loop {
        // The device holds the sender, and we hold the device: the wait cannot fail.
        let _ = link.wait_for(|l| l.listening).await;
        let socket = match listener.take() {
            Some(socket) => socket,
            None => bind_again(&device).await,
        };
        tokio::select! {
            () = accept(&device, &socket) => {}
            _ = link.wait_for(|l| !l.listening) => {}
        }
    }
}

async fn bind_again(device: &Device) -> TcpListener {
    loop {
        match TcpListener::bind(device.endpoint).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(BIND_AGAIN).await,
        }
    }
}

async fn accept(device: &Arc<Device>, listener: &TcpListener) {
    loop {
        // A failed accept is the client's doing or a lack of descriptors: neither ends the device.
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(BIND_AGAIN).await;
            continue;
        };
        device.state().counts.connections += 1;
        tokio::spawn(converse(Arc::clone(device), stream));
    }
}

async fn converse(device: Arc<Device>, stream: TcpStream) {
    let mut link = device.link();
    let session = link.borrow().session;
    // Small answers must not wait for the other side's acknowledgement.
    let _ = stream.set_nodelay(true);
    let conversation = async {
        match device.model().protocol() {
            ProtocolName::ModbusTcp => modbus::serve(&device, stream).await,
            ProtocolName::ToledoContinuous => toledo::serve(&device, stream).await,
            ProtocolName::OnvifHttp => http::serve(stream, |request| onvif::answer(Arc::clone(&device), request)).await,
            ProtocolName::GenericHttp => {
                http::serve(stream, |request| generic::answer(Arc::clone(&device), request)).await
            }
        }
    };
    tokio::select! {
        () = conversation => {}
        _ = link.wait_for(|l| l.session != session) => {}
    }
}
