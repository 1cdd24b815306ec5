//! Buckets of an object storage account: which there are, and what is in them.
//!
//! Two dialects are spoken: Alibaba Cloud OSS and Amazon S3, with all that speak like it. Both need
//! two requests only, "list buckets" and "list objects, version 2". Requests are [signed](sign), and
//! repeated when the server is overloaded or away; answers are bounded in time and size.
//!
//! Why not a crate: opendal and `object_store` cannot list buckets; a whole SDK is larger than this
//! program.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use reqwest::Url;

pub use self::{
    failure::Failure,
    settings::{Addressing, Kind, Mode, Selection, Settings},
    xml::ObjectPage,
};
use self::{
    send::{Asked, Sender},
    xml::ListedBucket,
};
use crate::domain::calls::Calls;

mod failure;
mod send;
mod settings;
pub mod sign;
pub mod xml;

/// A bucket, and by which way it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    pub name: String,
    region: String,
    /// Scheme, host and port, without the bucket.
    base: Url,
}

/// Where the next page of a listing starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum From {
    #[default]
    Beginning,
    /// Behind this key.
    Key(String),
    /// What the page before said.
    Token(String),
}

/// See the [module](self).
pub struct Account {
    settings: Settings,
    base: Url,
    sender: Sender,
    /// Regions that answers told, by bucket: S3 only.
    regions: Mutex<HashMap<String, String>>,
}

impl fmt::Debug for Account {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Account").field("base", &self.base.as_str()).finish_non_exhaustive()
    }
}

/// More pages of buckets are not asked for: a server that never ends is not believed.
const BUCKET_PAGES: usize = 100;

impl Account {
    /// # Errors
    /// When the settings name no account.
    pub fn new(settings: &Settings) -> Result<Self, String> {
        settings.validate()?;
        let Some(base) = settings.base()? else {
            return Err("endpoint = \"\": without it nothing can be watched".to_owned());
        };
        let sender = Sender::new(settings, &base)?;
        Ok(Self { settings: settings.clone(), base, sender, regions: Mutex::default() })
    }

    /// The same, its calls counted there.
    #[must_use]
    pub fn counted(mut self, calls: Arc<Calls>) -> Self {
        self.sender.count_in(calls);
        self
    }

    /// The buckets that the settings select, by name. Where these are all names, the server is not
    /// asked: they are taken to be where the endpoint is.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub async fn buckets(&self) -> Result<Vec<Bucket>, Failure> {
        let selections = self.settings.selections();
        let named: Option<Vec<&str>> = selections.iter().map(Selection::single).collect();
        let mut listed = match named {
            Some(names) => names
                .into_iter()
                .map(|name| ListedBucket { name: name.to_owned(), ..ListedBucket::default() })
                .collect(),
            None => self.list_buckets().await?,
        };
        listed.sort_by(|one, other| one.name.cmp(&other.name));
        listed.dedup_by(|one, other| one.name == other.name);
        let selected = listed
            .into_iter()
            .filter(|bucket| selections.iter().any(|selection| selection.selects(&bucket.name)));
        Ok(selected.map(|bucket| self.located(bucket)).collect())
    }

    async fn list_buckets(&self) -> Result<Vec<ListedBucket>, Failure> {
        let (next, size) = match self.settings.kind {
            Kind::Oss => ("marker", "max-keys"),
            Kind::S3 => ("continuation-token", "max-buckets"),
        };
        let (mut all, mut from): (Vec<ListedBucket>, Option<String>) = (Vec::new(), None);
        for _ in 0..BUCKET_PAGES {
            let mut query = vec![(size, "1000")];
            query.extend(from.as_deref().map(|from| (next, from)));
            let asked = Asked {
                operation: "list_buckets",
                base: &self.base,
                region: &self.settings.region,
                bucket: "",
                query: &query,
            };
            let page = self.sender.ask(&asked, xml::buckets).await?;
            // A name is part of URLs.
            let is_name = |name: &str| {
                let is_possible = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
                !name.is_empty() && name.len() <= 255 && name.bytes().all(is_possible)
            };
            all.extend(page.buckets.into_iter().filter(|bucket| is_name(&bucket.name)));
            match page.next {
                Some(next) if from.as_ref() != Some(&next) => from = Some(next),
                _ => return Ok(all),
            }
        }
        Err(Failure::Unreadable("the list of buckets does not end".to_owned()))
    }

    /// Each bucket is asked where it is.
    fn located(&self, bucket: ListedBucket) -> Bucket {
        let region = if bucket.region.is_empty() { &self.settings.region } else { &bucket.region };
        let base = match self.settings.kind {
            Kind::Oss => self.oss_base(&bucket),
            Kind::S3 => self.s3_base(region),
        };
        let base = base.unwrap_or_else(|| self.base.clone());
        Bucket { region: region.clone(), name: bucket.name, base }
    }

    /// OSS says by which host a bucket is reached. It is believed as far as that is a sibling of the
    /// endpoint: requests carry credentials.
    fn oss_base(&self, bucket: &ListedBucket) -> Option<Url> {
        let own = self.base.host_str()?;
        let is_inside = own.contains("-internal.");
        let is_near = bucket.region == self.settings.region;
        let told = match (is_inside && is_near, bucket.intranet.as_str()) {
            (true, intranet) if !intranet.is_empty() => intranet,
            _ => bucket.extranet.as_str(),
        };
        if told.is_empty() {
            return None;
        }
        let told = Url::parse(&format!("{}://{told}", self.base.scheme())).ok()?;
        is_sibling(own, told.host_str()?).then_some(told)
    }

    /// Amazon has an endpoint for each region; others have one.
    fn s3_base(&self, region: &str) -> Option<Url> {
        let host = self.base.host_str()?;
        let (start, end) = host.split_once(&format!(".{}.", self.settings.region))?;
        if !end.starts_with("amazonaws.com") {
            return None;
        }
        let mut base = self.base.clone();
        base.set_host(Some(&format!("{start}.{region}.{end}"))).ok()?;
        Some(base)
    }

    /// One page of a bucket's objects.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub async fn objects(
        &self,
        bucket: &Bucket,
        prefix: &str,
        from: &From,
    ) -> Result<ObjectPage, Failure> {
        let size = self.settings.page.to_string();
        let mut query =
            vec![("list-type", "2"), ("max-keys", size.as_str()), ("encoding-type", "url")];
        if !prefix.is_empty() {
            query.push(("prefix", prefix));
        }
        match from {
            From::Beginning => {}
            From::Key(key) => query.push(("start-after", key)),
            From::Token(token) => query.push(("continuation-token", token)),
        }
        let learned = self.regions().get(&bucket.name).cloned();
        let page = self.objects_in(bucket, learned.as_deref(), &query).await;
        let told = match &page {
            Err(Failure::Elsewhere { region, .. }) if !region.is_empty() => region.clone(),
            _ => return page,
        };
        tracing::info!(bucket = bucket.name, region = told, "the bucket is in another region");
        self.regions().insert(bucket.name.clone(), told.clone());
        self.objects_in(bucket, Some(&told), &query).await
    }

    async fn objects_in(
        &self,
        bucket: &Bucket,
        region: Option<&str>,
        query: &[(&str, &str)],
    ) -> Result<ObjectPage, Failure> {
        let base = region.and_then(|region| self.s3_base(region));
        let asked = Asked {
            operation: "list_objects",
            base: base.as_ref().unwrap_or(&bucket.base),
            region: region.unwrap_or(&bucket.region),
            bucket: &bucket.name,
            query,
        };
        self.sender.ask(&asked, xml::objects).await
    }

    fn regions(&self) -> std::sync::MutexGuard<'_, HashMap<String, String>> {
        self.regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether two hosts differ in their first label only. Addresses have no labels.
fn is_sibling(own: &str, other: &str) -> bool {
    let is_address = |host: &str| host.parse::<std::net::IpAddr>().is_ok();
    let parent = |host: &str| host.split_once('.').map(|(_, parent)| parent.to_owned());
    if is_address(own) || is_address(other) {
        return own == other;
    }
    own == other || parent(own).is_some_and(|own| own.contains('.') && parent(other) == Some(own))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::secret::Secret;

    fn account(endpoint: &str, kind: Kind, region: &str) -> Account {
        Account::new(&Settings {
            endpoint: endpoint.to_owned(),
            kind,
            region: region.to_owned(),
            access_key_id: "id".to_owned(),
            access_key_secret: Secret::new("secret"),
            ..Settings::default()
        })
        .unwrap()
    }

    fn base_of(account: &Account, region: &str, extranet: &str, intranet: &str) -> String {
        let listed = ListedBucket {
            name: "b".to_owned(),
            region: region.to_owned(),
            extranet: extranet.to_owned(),
            intranet: intranet.to_owned(),
        };
        account.located(listed).base.to_string()
    }

    #[test]
    fn a_bucket_is_asked_in_its_own_region() {
        let oss = account("https://oss-cn-hangzhou.aliyuncs.com", Kind::Oss, "cn-hangzhou");
        let (out, inside) = ("oss-eu-west-1.aliyuncs.com", "oss-eu-west-1-internal.aliyuncs.com");
        assert_eq!(base_of(&oss, "eu-west-1", out, inside), format!("https://{out}/"));
        for elsewhere in ["", "evil.example.com", "oss.aliyuncs.com.example.com", "a/@b"] {
            let own = "https://oss-cn-hangzhou.aliyuncs.com/";
            assert_eq!(base_of(&oss, "eu-west-1", elsewhere, ""), own, "{elsewhere}");
        }
        let near = account("https://oss-eu-west-1-internal.aliyuncs.com", Kind::Oss, "eu-west-1");
        assert_eq!(base_of(&near, "eu-west-1", out, inside), format!("https://{inside}/"));
        assert_eq!(base_of(&near, "eu-west-2", out, inside), format!("https://{out}/"));
        let aws = account("https://s3.eu-central-1.amazonaws.com", Kind::S3, "eu-central-1");
        assert_eq!(base_of(&aws, "us-west-2", "", ""), "https://s3.us-west-2.amazonaws.com/");
        assert_eq!(base_of(&aws, "", "", ""), "https://s3.eu-central-1.amazonaws.com/");
        let minio = account("http://minio.eu.example.com:9000", Kind::S3, "eu");
        assert_eq!(base_of(&minio, "us-west-2", "", ""), "http://minio.eu.example.com:9000/");
    }

    #[test]
    fn only_siblings_are_believed() {
        assert!(is_sibling("oss-a.aliyuncs.com", "oss-b.aliyuncs.com"));
        assert!(is_sibling("127.0.0.1", "127.0.0.1") && !is_sibling("127.0.0.1", "127.1.0.1"));
        assert!(!is_sibling("a.com", "b.com") && !is_sibling("oss-a.aliyuncs.com", "aliyuncs.com"));
    }
}
