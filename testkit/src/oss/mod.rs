//! A stand-in for Alibaba Cloud OSS: keeps objects in memory, answers `ListBuckets` and
//! `ListObjectsV2` as its API reference says, checks every signature, and fails when it is told to.
//!
//! Each region has a listener of its own, and knows only its own buckets: as with the real one, a
//! bucket must be asked for in its region.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{Router, extract::Request, response::Response};

mod answer;
mod signature;

pub const KEY_ID: &str = "LTAI5tFake";
pub const SECRET: &str = "hunter2-of-the-fake";

/// See the [module](self). Must be started within a runtime, and ends with it.
#[derive(Clone)]
pub struct Oss {
    world: Arc<World>,
}

struct World {
    /// Addresses by region.
    regions: BTreeMap<String, SocketAddr>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    buckets: BTreeMap<String, Bucket>,
    faults: VecDeque<Fault>,
    asked: Vec<Asked>,
}

struct Bucket {
    region: String,
    content: Content,
}

enum Content {
    Objects(BTreeMap<String, Object>),
    /// So many keys, made up when they are asked for.
    Generated(u64),
}

/// What is listed of an object.
#[derive(Clone)]
struct Object {
    size: u64,
    etag: String,
    /// Seconds since 1970.
    modified_at: i64,
}

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// 503, as when the server is overloaded.
    Unavailable,
    /// 403: the credentials are refused.
    SignatureDoesNotMatch,
    /// 403: the clocks differ.
    ClockSkew,
    /// The answer ends in its middle, though its length says that it is whole.
    Truncated,
    /// Objects are not listed in their order.
    Unsorted,
}

/// A request that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub region: String,
    /// Empty: the list of buckets.
    pub bucket: String,
    pub status: u16,
    /// The query's parameters, unescaped.
    pub query: BTreeMap<String, String>,
}

impl Oss {
    /// Starts a server for each region; the first one is the endpoint.
    ///
    /// # Panics
    /// When no port is free.
    pub async fn start(regions: &[&str]) -> Self {
        let mut listeners = Vec::new();
        for region in regions {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            listeners.push(((*region).to_owned(), listener));
        }
        let addresses = listeners.iter();
        let regions =
            addresses.map(|(name, listener)| (name.clone(), listener.local_addr().unwrap()));
        let world = Arc::new(World { regions: regions.collect(), state: Mutex::default() });
        for (region, listener) in listeners {
            let world = world.clone();
            let app = Router::new().fallback(move |request: Request| {
                let (world, region) = (world.clone(), region.clone());
                async move { world.answer(&region, &request) }
            });
            tokio::spawn(async move { axum::serve(listener, app).await });
        }
        Self { world }
    }

    /// Where a region is reached.
    ///
    /// # Panics
    /// When there is no such region.
    #[must_use]
    pub fn endpoint(&self, region: &str) -> String {
        format!("http://{}", self.world.regions[region])
    }

    /// Makes a bucket.
    pub fn make_bucket(&self, region: &str, name: &str) {
        self.add_bucket(region, name, Content::Objects(BTreeMap::new()));
    }

    /// Makes a bucket of `count` objects that take no memory here.
    pub fn make_large_bucket(&self, region: &str, name: &str, count: u64) {
        self.add_bucket(region, name, Content::Generated(count));
    }

    fn add_bucket(&self, region: &str, name: &str, content: Content) {
        let bucket = Bucket { region: region.to_owned(), content };
        self.world.lock().buckets.insert(name.to_owned(), bucket);
    }

    /// Writes an object; the time is that of writing, in seconds.
    ///
    /// # Panics
    /// When there is no such bucket.
    pub fn put(&self, bucket: &str, key: &str, content: &str) {
        let object = Object {
            size: content.len() as u64,
            etag: signature::sha256_hex(content.as_bytes())[..32].to_uppercase(),
            modified_at: jiff::Timestamp::now().as_second(),
        };
        self.objects(bucket, |objects| objects.insert(key.to_owned(), object));
    }

    /// # Panics
    /// When there is no such bucket.
    pub fn delete(&self, bucket: &str, key: &str) {
        self.objects(bucket, |objects| objects.remove(key));
    }

    fn objects<T>(
        &self,
        bucket: &str,
        change: impl FnOnce(&mut BTreeMap<String, Object>) -> T,
    ) -> T {
        match &mut self.world.lock().buckets.get_mut(bucket).expect("a bucket").content {
            Content::Objects(objects) => change(objects),
            Content::Generated(_) => panic!("its objects cannot be changed"),
        }
    }

    /// Has the next requests fail, one each.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.world.lock().faults.extend(faults);
    }

    /// Faults that no request has met yet.
    #[must_use]
    pub fn faults_left(&self) -> usize {
        self.world.lock().faults.len()
    }

    /// The requests since this was asked last.
    #[must_use]
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.world.lock().asked)
    }
}

impl World {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, region: &str, request: &Request) -> Response {
        let mut state = self.lock();
        let bucket = request.uri().path().trim_matches('/').to_owned();
        let query = request.uri().query().unwrap_or_default();
        let query: BTreeMap<String, String> =
            form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        let fault = state.faults.pop_front();
        let response = match (signature::check(request, region, &bucket), fault) {
            (_, Some(Fault::Unavailable)) => answer::error(503, "ServiceUnavailable", ""),
            (_, Some(Fault::SignatureDoesNotMatch)) => {
                answer::error(403, "SignatureDoesNotMatch", "<StringToSign>secret</StringToSign>")
            }
            (_, Some(Fault::ClockSkew)) => answer::error(403, "RequestTimeTooSkewed", ""),
            (Err(refused), _) => answer::error(refused.status, refused.code, &refused.more),
            (Ok(()), fault) if bucket.is_empty() => {
                answer::buckets(&state.buckets, &self.regions, &query, fault)
            }
            (Ok(()), fault) => match state.buckets.get(&bucket) {
                None => answer::error(404, "NoSuchBucket", ""),
                Some(found) if found.region != region => {
                    let own = self.regions[&found.region];
                    answer::error(403, "AccessDenied", &format!("<Endpoint>{own}</Endpoint>"))
                }
                Some(found) => answer::objects(&bucket, &found.content, &query, fault),
            },
        };
        let status = response.status().as_u16();
        state.asked.push(Asked { region: region.to_owned(), bucket, status, query });
        response
    }
}
