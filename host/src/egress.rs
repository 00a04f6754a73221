//! stub
use std::time::Duration;
pub struct Door; pub struct Connection; 
pub struct HttpRequest { pub method: String, pub url: String, pub headers: Vec<(String,String)>, pub body: Vec<u8>, pub auth: Option<String>, pub timeout: Option<Duration> }
pub struct HttpResponse { pub status: u16, pub headers: Vec<(String,String)>, pub body: Vec<u8> }
#[derive(Debug, thiserror::Error)] pub enum HttpError { #[error("d")] Denied(String), #[error("d")] Timeout, #[error("d")] TooLarge(u64), #[error("d")] Dns(String), #[error("d")] Connect(String), #[error("d")] Tls(String), #[error("d")] Protocol(String) }
#[derive(Debug, thiserror::Error)] pub enum NetError { #[error("d")] Denied(String), #[error("d")] Timeout, #[error("d")] Closed, #[error("d")] Tls(String), #[error("d")] Io(String) }
pub enum Security { Plain, Tls, StartTls }
impl Door { pub async fn http(&self, _r: HttpRequest) -> Result<HttpResponse, HttpError> { Err(HttpError::Timeout) } pub async fn connect(&self, _h: &str, _p: u16, _s: Security, _t: Duration) -> Result<Connection, NetError> { Err(NetError::Timeout) } }
impl Connection { pub async fn upgrade(&mut self, _t: Duration) -> Result<(), NetError> { Ok(()) } pub async fn read(&mut self, _m: usize, _t: Duration) -> Result<Vec<u8>, NetError> { Err(NetError::Closed) } pub async fn write(&mut self, _m: &[u8], _t: Duration) -> Result<(), NetError> { Err(NetError::Closed) } pub async fn write_secret(&mut self, _a: &[u8], _b: &str, _c: &str, _d: &[u8], _t: Duration) -> Result<(), NetError> { Err(NetError::Closed) } }
