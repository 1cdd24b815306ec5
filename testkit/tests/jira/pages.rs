//! What people see, and how they make it fail.

use faultline_testkit::jira::Settings;
use serde_json::json;

use crate::{Asker, document};

impl Asker {
    async fn page(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(format!("{}{path}", self.jira.url())).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn press(&self, path: &str) -> u16 {
        let answer = self.http.post(format!("{}{path}", self.jira.url())).send().await.unwrap();
        answer.status().as_u16()
    }
}

#[tokio::test]
async fn people_see_issues_and_resolve_them() {
    let asker = Asker::of(Settings { has_control: true, ..Settings::cloud() }).await;
    let key = asker.file("<script>alert('1')</script>", &[]).await;
    let comment = json!({"body": document("<b>bold</b>")});
    asker.post(&format!("3/issue/{key}/comment"), &comment).await;
    for path in ["/".to_owned(), format!("/browse/{key}")] {
        let (status, page) = asker.page(&path).await;
        assert_eq!(status, 200);
        assert!(page.contains("&lt;script&gt;alert(&#39;1&#39;)"), "{page}");
        assert!(!page.contains("<script") && !page.contains("<b>bold"), "{page}");
        assert!(page.contains(&format!("/_control/resolve/{key}?resolution=Won%27t+Do")));
    }
    assert_eq!(asker.page("/browse/OPS-9").await.0, 404);
    let path = format!("/_control/resolve/{key}?resolution=Won%27t+Do");
    assert_eq!(asker.press(&path).await, 204);
    assert_eq!(asker.jira.issue(&key).unwrap().resolution.as_deref(), Some("Won't Do"));
    let (_, issues) = asker.page("/_control/issues").await;
    assert!(issues.contains("\"Won't Do\""));
    assert_eq!(asker.press(&format!("/_control/reopen/{key}")).await, 204);
    assert_eq!(asker.press(&format!("/_control/delete/{key}")).await, 204);
    assert_eq!(asker.press(&format!("/_control/delete/{key}")).await, 404);

    let plain = Asker::cloud().await;
    assert_eq!(plain.page("/_control/issues").await.0, 404, "only where it is asked for");
}

#[tokio::test]
async fn people_make_it_fail() {
    let asker = Asker::of(Settings { has_control: true, ..Settings::cloud() }).await;
    let fail = "/_control/fail?endpoint=myself&fault=503-before&count=2";
    assert_eq!(asker.press(fail).await, 204);
    for status in [503, 503, 200] {
        assert_eq!(asker.get("3/myself").await.status, status);
    }
    let quota = "/_control/down?fault=429&retry_after=9&reason=jira-quota-tenant-based";
    assert_eq!(asker.press(quota).await, 204);
    let heard = asker.get("3/myself").await;
    assert_eq!((heard.status, heard.header("retry-after")), (429, "9"));
    assert_eq!(asker.press("/_control/up").await, 204);
    assert_eq!(asker.press("/_control/chaos?share=1&faults=conflict&seed=1").await, 204);
    assert_eq!(asker.get("3/myself").await.status, 409);
    assert_eq!(asker.press("/_control/up").await, 204);
    assert_eq!(asker.get("3/myself").await.status, 200);
    for wrong in ["fault=nope", "fault=404-before", "endpoint=nope&fault=hang", "endpoint=create"] {
        assert_eq!(asker.press(&format!("/_control/fail?{wrong}")).await, 400, "{wrong}");
    }
}
