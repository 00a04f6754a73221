//! `http` and `net`: a guest's only ways out, both through the channel's door and never longer than the call.

use std::time::Duration;

use wasmtime::component::Resource;

use crate::egress::{Connection, HttpError, HttpRequest, NetError, Security};
use crate::plugin::bindings::api;
use crate::plugin::manifest::Kind;

use super::HostState;

/// A connection that a guest holds.
pub struct Conn(Connection);

impl HostState {
    fn wait(&self, asked_ms: u32) -> Duration {
        Duration::from_millis(asked_ms.into()).min(self.remaining())
    }
}

impl api::http::Host for HostState {
    async fn send(&mut self, request: api::http::Request) -> wasmtime::Result<Result<api::http::Response, api::http::HttpError>> {
        if self.who.kind == Kind::Rule {
            return Err(wasmtime::Error::msg("`http` is not for rules"));
        }
        let Some(door) = self.who.door.clone() else {
            self.who.denied();
            return Ok(Err(api::http::HttpError::Denied("no http is granted to this plugin".to_owned())));
        };
        let remaining = self.remaining();
        let asked = request.timeout_ms.map_or(remaining, |ms| Duration::from_millis(ms.into()));
        let request = HttpRequest {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
            auth: request.auth,
            timeout: Some(asked.min(remaining)),
        };
        let answer = self.waits.during(door.http(request)).await;
        if matches!(answer, Err(HttpError::Denied(_))) {
            self.who.denied();
        }
        Ok(match answer {
            Ok(answer) => Ok(api::http::Response { status: answer.status, headers: answer.headers, body: answer.body }),
            Err(error) => Err(http_error(error)),
        })
    }
}

fn http_error(error: HttpError) -> api::http::HttpError {
    match error {
        HttpError::Denied(why) => api::http::HttpError::Denied(why),
        HttpError::Timeout => api::http::HttpError::Timeout,
        HttpError::TooLarge(limit) => api::http::HttpError::TooLarge(limit),
        HttpError::Dns(why) => api::http::HttpError::Dns(why),
        HttpError::Connect(why) => api::http::HttpError::Connect(why),
        HttpError::Tls(why) => api::http::HttpError::Tls(why),
        HttpError::Protocol(why) => api::http::HttpError::Protocol(why),
    }
}

fn net_error(error: NetError) -> api::net::NetError {
    match error {
        NetError::Denied(why) => api::net::NetError::Denied(why),
        NetError::Timeout => api::net::NetError::Timeout,
        NetError::Closed => api::net::NetError::Closed,
        NetError::Tls(why) => api::net::NetError::Tls(why),
        NetError::Io(why) => api::net::NetError::Io(why),
    }
}

impl api::net::Host for HostState {}

impl api::net::HostConnection for HostState {
    async fn connect(
        &mut self,
        host: String,
        port: u16,
        security: api::net::Security,
        timeout_ms: u32,
    ) -> wasmtime::Result<Result<Resource<Conn>, api::net::NetError>> {
        self.only_connectors("net")?;
        let Some(door) = self.who.door.clone() else {
            self.who.denied();
            return Ok(Err(api::net::NetError::Denied("no net is granted to this plugin".to_owned())));
        };
        let security = match security {
            api::net::Security::Plain => Security::Plain,
            api::net::Security::Tls => Security::Tls,
            api::net::Security::Starttls => Security::StartTls,
        };
        let connected = self.waits.during(door.connect(&host, port, security, self.wait(timeout_ms))).await;
        if matches!(connected, Err(NetError::Denied(_))) {
            self.who.denied();
        }
        Ok(match connected {
            Ok(connection) => {
                let held = self.table.push(Conn(connection))?;
                self.n_connections += 1;
                Ok(held)
            }
            Err(error) => Err(net_error(error)),
        })
    }

    async fn upgrade(&mut self, conn: Resource<Conn>) -> wasmtime::Result<Result<(), api::net::NetError>> {
        let wait = self.remaining();
        Ok(self.waits.during(self.table.get_mut(&conn)?.0.upgrade(wait)).await.map_err(net_error))
    }

    async fn read(&mut self, conn: Resource<Conn>, max: u32, timeout_ms: u32) -> wasmtime::Result<Result<Vec<u8>, api::net::NetError>> {
        let (wait, max) = (self.wait(timeout_ms), usize::try_from(max).unwrap_or(usize::MAX));
        Ok(self.waits.during(self.table.get_mut(&conn)?.0.read(max, wait)).await.map_err(net_error))
    }

    async fn write(&mut self, conn: Resource<Conn>, data: Vec<u8>) -> wasmtime::Result<Result<(), api::net::NetError>> {
        let wait = self.remaining();
        Ok(self.waits.during(self.table.get_mut(&conn)?.0.write(&data, wait)).await.map_err(net_error))
    }

    async fn write_secret(
        &mut self,
        conn: Resource<Conn>,
        prefix: Vec<u8>,
        credential: String,
        encoding: String,
        suffix: Vec<u8>,
    ) -> wasmtime::Result<Result<(), api::net::NetError>> {
        let wait = self.remaining();
        let conn = &mut self.table.get_mut(&conn)?.0;
        Ok(self.waits.during(conn.write_secret(&prefix, &credential, &encoding, &suffix, wait)).await.map_err(net_error))
    }

    async fn drop(&mut self, conn: Resource<Conn>) -> wasmtime::Result<()> {
        self.table.delete(conn)?;
        self.n_connections = self.n_connections.saturating_sub(1);
        Ok(())
    }
}
