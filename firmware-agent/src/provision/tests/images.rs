//! Images, and a server of them over HTTP/1.1 that can be told to misbehave.

use std::{
    collections::HashMap,
    convert::Infallible,
    fs::File,
    net::SocketAddr,
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rustix::fs::{SealFlags, fcntl_add_seals};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

use super::super::gpt;
use crate::digest::sha256;

pub(super) const CHUNK: u64 = 8 << 20;

/// An image: a disk, and its manifest.
pub(super) struct Image {
    name: String,
    pub(super) disk: Vec<u8>,
    pub(super) manifest: String,
}

impl Image {
    /// An image whose chunks are all different, with a partition table.
    pub(super) fn new(name: &str, octets: u64) -> Self {
        let mut disk = vec![0; usize::try_from(octets).unwrap()];
        for (number, chunk) in disk.chunks_mut(usize::try_from(CHUNK).unwrap()).enumerate() {
            let number = u8::try_from(number).unwrap();
            chunk.iter_mut().step_by(1021).for_each(|octet| *octet = number + 1);
        }
        let table = gpt::tests::bootable();
        disk[..table.len()].copy_from_slice(&table);
        let mut image = Self {
            name: name.to_owned(),
            disk,
            manifest: String::new(),
        };
        image.describe();
        image
    }

    /// Puts something at the disk's beginning.
    pub(super) fn replace(&mut self, beginning: &[u8]) {
        self.disk[..beginning.len()].copy_from_slice(beginning);
        self.describe();
    }

    /// Fills a chunk with one octet.
    pub(super) fn fill(&mut self, number: usize, octet: u8) {
        let chunk = usize::try_from(CHUNK).unwrap();
        self.disk[number * chunk..(number + 1) * chunk].fill(octet);
        self.describe();
    }

    fn describe(&mut self) {
        let digests: Vec<_> = (0..self.chunks()).map(|number| self.chunk(number) + "\n").collect();
        self.manifest = format!(
            "hallmark-disk-image 1\nimage=hallmark-{}\nversion=1\ndisk_octets={}\nchunk_octets={CHUNK}\nchunks={}\n{}",
            self.name,
            self.disk.len(),
            digests.len(),
            digests.concat()
        );
    }

    pub(super) fn chunks(&self) -> usize {
        self.disk.len().div_ceil(usize::try_from(CHUNK).unwrap())
    }

    pub(super) fn content(&self, number: usize) -> &[u8] {
        self.disk.chunks(usize::try_from(CHUNK).unwrap()).nth(number).unwrap()
    }

    /// A chunk's name.
    pub(super) fn chunk(&self, number: usize) -> String {
        hex::encode(sha256(self.content(number)))
    }
}

/// What the server does with requests.
#[derive(Clone, Debug)]
pub(super) enum Behaviour {
    Good,
    /// It closes connections when this is asked for.
    Away {
        of: String,
    },
    /// It gives so many answers to chunks of which half comes, and then the connection's end.
    Cut {
        answers: usize,
    },
    /// So many answers are 503.
    Unwell {
        answers: usize,
    },
    Answers {
        of: String,
        status: u16,
    },
    /// It does not answer.
    Silent {
        of: String,
    },
    /// It answers with a redirect.
    Redirects {
        of: String,
        to: String,
    },
    /// It says that the file is compressed.
    Encodes {
        of: String,
    },
    /// As this is asked for, a disk in memory takes no more writes.
    Seals {
        at: String,
        memory: Arc<File>,
    },
    /// As this is asked for, an octet of the disk changes.
    Scribbles {
        at: String,
        disk: PathBuf,
        place: u64,
    },
}

impl Behaviour {
    pub(super) const fn cut(answers: usize) -> Self {
        Self::Cut { answers }
    }
}

struct Inside {
    files: HashMap<String, Vec<u8>>,
    behaviour: Behaviour,
    counts: HashMap<String, usize>,
    faults: usize,
}

#[derive(Clone)]
pub(super) struct ImageServer(Arc<Mutex<Inside>>);

impl ImageServer {
    pub(super) async fn start(image: &Image, signature: Vec<u8>, tls: Option<TlsAcceptor>) -> (Self, SocketAddr) {
        let chunks = (0..image.chunks()).map(|number| (image.chunk(number), image.content(number).to_vec()));
        let signed = [
            ("manifest".to_owned(), image.manifest.clone().into_bytes()),
            ("manifest.sig".to_owned(), signature),
        ];
        let server = Self(Arc::new(Mutex::new(Inside {
            files: chunks.chain(signed).collect(),
            behaviour: Behaviour::Good,
            counts: HashMap::new(),
            faults: 0,
        })));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let this = server.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (this, tls) = (this.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => this.serve(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                this.serve(stream).await;
                            }
                        }
                    }
                });
            }
        });
        (server, address)
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    pub(super) fn put(&self, name: &str, content: Vec<u8>) {
        self.lock().files.insert(name.to_owned(), content);
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        self.lock().behaviour = behaviour;
    }

    /// How often a file was asked for and given, or not answered.
    pub(super) fn count(&self, name: &str) -> usize {
        self.lock().counts.get(name).copied().unwrap_or(0)
    }

    pub(super) fn faults(&self) -> usize {
        self.lock().faults
    }

    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S) {
        let service = service_fn(move |request: Request<Incoming>| {
            let this = self.clone();
            async move { this.answer(request.uri().path().trim_start_matches("/images/")).await }
        });
        // A connection that is broken on purpose is no fault of the test.
        drop(
            http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await,
        );
    }

    async fn answer(&self, name: &str) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let broken = || Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        let behaviour = self.lock().behaviour.clone();
        match behaviour {
            Behaviour::Away { of } if of == name => return broken(),
            Behaviour::Redirects { of, to } if of == name => {
                *self.lock().counts.entry(name.to_owned()).or_default() += 1;
                let mut redirect = status_only(StatusCode::FOUND);
                redirect
                    .headers_mut()
                    .insert(http::header::LOCATION, to.parse().unwrap());
                return Ok(redirect);
            }
            Behaviour::Encodes { of } if of == name => {
                let mut encoded = Response::new(Full::new(Bytes::from_static(b"\x1f\x8b")));
                let gzip = http::HeaderValue::from_static("gzip");
                encoded.headers_mut().insert(http::header::CONTENT_ENCODING, gzip);
                return Ok(encoded);
            }
            Behaviour::Silent { of } if of == name => {
                *self.lock().counts.entry(name.to_owned()).or_default() += 1;
                std::future::pending::<Infallible>().await;
            }
            Behaviour::Answers { of, status } if of == name => {
                *self.lock().counts.entry(name.to_owned()).or_default() += 1;
                return Ok(status_only(StatusCode::from_u16(status).unwrap()));
            }
            Behaviour::Unwell { answers } if self.faults() < answers => {
                self.lock().faults += 1;
                return Ok(status_only(StatusCode::SERVICE_UNAVAILABLE));
            }
            Behaviour::Cut { answers } if self.faults() < answers && name.len() == 64 => {
                self.lock().faults += 1;
                return Ok(self.half(name));
            }
            Behaviour::Seals { at, memory } if at == name => fcntl_add_seals(&*memory, SealFlags::WRITE).unwrap(),
            Behaviour::Scribbles { at, disk, place } if at == name => {
                let disk = File::options().write(true).open(disk).unwrap();
                disk.write_all_at(b"bad", place).unwrap();
            }
            _ => {}
        }
        let mut inside = self.lock();
        let Some(content) = inside.files.get(name).cloned() else {
            return Ok(status_only(StatusCode::NOT_FOUND));
        };
        *inside.counts.entry(name.to_owned()).or_default() += 1;
        Ok(Response::new(Full::new(content.into())))
    }

    /// An answer that announces the whole file, of which half comes.
    fn half(&self, name: &str) -> Response<Full<Bytes>> {
        let content = self.lock().files[name].clone();
        let mut response = Response::new(Full::new(Bytes::copy_from_slice(&content[..content.len() / 2])));
        response
            .headers_mut()
            .insert(http::header::CONTENT_LENGTH, content.len().into());
        response
    }
}

fn status_only(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
