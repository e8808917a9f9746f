//! Tiếng Việt. Terms as the people at a gate use them: làn, cửa khẩu, trạm kiểm tra, khóa liên động an toàn, niêm phong, phía bạn.
//! "Máy biên" is the box of an EdgeAgent, "yêu cầu làm trống làn" a LaneDrain, "mức sàn" a capacity floor.

use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::Reason;

use super::Entry;

pub(super) const NOTHING: &str = "Không cần làm gì.";
/// For work that goes on by itself.
const WAIT: &str = "Chờ: hệ thống tự làm tiếp.";
const STAY_ON: &str = "Chờ, và không tắt nguồn thiết bị.";

macro_rules! reasons {
    ($($word:ident: $means:literal, $todo:expr;)+) => {
        &[$((Reason::$word, Entry { means: $means, todo: $todo }),)+]
    };
}

macro_rules! codes {
    ($($word:ident: $means:literal, $todo:literal;)+) => {
        &[$((BlockCode::$word, Entry { means: $means, todo: $todo }),)+]
    };
}

pub(super) const REASONS: &[(Reason, Entry)] = reasons! {
    Initializing:
        "Chưa nhận được tin gì và chưa đánh giá gì.",
        "Chờ một phút; nếu vẫn vậy, kiểm tra bộ điều hành có chạy không: `kubectl kalong doctor`.";
    InForce:
        "Mọi điều đã khai báo đều đang có hiệu lực.",
        NOTHING;
    Serving:
        "Đang phục vụ thông quan.",
        NOTHING;
    Planned:
        "Thuộc một giai đoạn chưa mở; không thiết bị nào được liên lạc.",
        "Không cần làm gì cho đến khi giai đoạn được chạy thử; việc đó là đổi `spec.state` của Phase trong Git.";
    Suspended:
        "Có người đã tạm dừng; không gửi và không nhận gì.",
        "Khi cần dùng lại, đặt `spec.suspend` thành false tại nơi khai báo.";
    Disabled:
        "Có người đã cho thiết bị ngừng hoạt động.",
        "Khi cần dùng lại, đặt `spec.admin` thành Enabled tại nơi khai báo thiết bị.";
    Applying:
        "Điều đã khai báo đã được gửi đi và chưa được xác nhận.",
        "Chờ: máy biên xác nhận trong vài giây; nếu không, hãy hỏi `why` với chính máy biên đó.";
    AgentUnreachable:
        "Máy biên im lặng lâu hơn thời gian cho phép.",
        "Kiểm tra máy biên tại cửa khẩu: nguồn điện, dây mạng, đường truyền. Làn vẫn chạy theo lệnh nhận lần cuối.";
    NotEnrolled:
        "Máy biên chưa được đăng ký.",
        "Chạy `kubectl kalong enrol <tên>` rồi chạy lệnh được in ra trên máy biên.";
    AgentConnected:
        "Máy biên đang kết nối.",
        NOTHING;
    DeviceConnected:
        "Máy biên liên lạc được với thiết bị.",
        NOTHING;
    DeviceUnreachable:
        "Thiết bị không trả lời máy biên của nó.",
        "Kiểm tra thiết bị: nguồn điện, dây cáp, địa chỉ trong `spec.connection.endpoint`.";
    DeviceFaulty:
        "Thiết bị báo hỏng.",
        "Đọc mã lỗi của thiết bị và gọi đơn vị bảo trì.";
    DeviceDegraded:
        "Thiết bị vẫn phục vụ nhưng báo có hạn chế.",
        "Thiết bị vẫn dùng được; đọc mã lỗi và lên kế hoạch bảo trì.";
    MissingReference:
        "Một đối tượng được nêu tên không tồn tại.",
        "Khai báo đối tượng đó, hoặc sửa lại tên ở nơi dùng tên.";
    InvalidSpec:
        "Khai báo tự mâu thuẫn hoặc mâu thuẫn với đối tượng khác.",
        "Sửa khai báo theo lời nhắn.";
    InvalidConfig:
        "Có thông số mà mẫu thiết bị không biết, hoặc vượt giới hạn.",
        "Sửa `spec.config`: mẫu thiết bị liệt kê các thông số và giới hạn của chúng.";
    IdentityTooLong:
        "Định danh ghép từ không gian tên và tên dài hơn 63 ký tự.",
        "Khai báo lại với tên ngắn hơn: không gian tên và tên cộng lại không quá 63 ký tự.";
    SlotConflict:
        "Một thiết bị được đặt ở vị trí của hai làn.",
        "Bỏ thiết bị khỏi một trong hai vị trí: mỗi thiết bị chỉ ở một chỗ.";
    RejectedByAgent:
        "Máy biên từ chối điều được giao.",
        "Đọc lời nhắn của máy biên và sửa khai báo.";
    FailedOnDevice:
        "Máy biên chưa làm được điều được giao và đang thử lại.",
        "Máy biên tự thử lại; nếu vẫn vậy, kiểm tra thiết bị theo lời nhắn.";
    ConfigInForce:
        "Cấu hình đọc lại từ thiết bị khớp với khai báo.",
        NOTHING;
    UpToDate:
        "Firmware đọc lại từ thiết bị khớp với khai báo.",
        NOTHING;
    NotDeclared:
        "Không khai báo firmware; thiết bị giữ nguyên phiên bản đang chạy.",
        "Không cần làm gì; nếu muốn một phiên bản nhất định, nêu tên bản phát hành trong `spec.firmware`.";
    Verifying:
        "Đang kiểm tra chữ ký, số đếm an toàn và tính tương thích của bản phát hành.",
        WAIT;
    Downloading:
        "Gói firmware đang được tải về máy biên.",
        "Chờ; nếu lâu quá, kiểm tra đường truyền của máy biên.";
    Staged:
        "Gói firmware đã ở máy biên và đang chờ đến lượt.",
        "Chờ đến lượt; xem mục blockedBy để biết đang chờ điều gì.";
    AwaitingDrain:
        "Làn phải trống trước khi được động vào thiết bị.",
        "Chờ: làn được làm trống theo lượt, ngay khi mức sàn của cửa khẩu cho phép.";
    Draining:
        "Làn đang được làm trống.",
        "Chờ xe bên trong ra hết; quá hạn thì làn tự mở lại.";
    Drained:
        "Làn đã trống và được giữ trống.",
        "Không cần làm gì: làn tự mở lại khi yêu cầu làm trống cuối cùng kết thúc.";
    Transferring:
        "Gói firmware đang được chuyển sang thiết bị.",
        STAY_ON;
    Installing:
        "Thiết bị đang ghi firmware.",
        STAY_ON;
    Activating:
        "Thiết bị đang chuyển sang firmware mới.",
        STAY_ON;
    Probation:
        "Firmware mới đang chạy và đang được kiểm chứng.",
        "Chờ hết thời gian theo dõi.";
    Committing:
        "Firmware mới đã được kiểm chứng và đang được giữ cố định.",
        STAY_ON;
    RollingBack:
        "Đang khôi phục firmware cũ.",
        STAY_ON;
    RolledBack:
        "Firmware cũ chạy lại sau một lần cập nhật không thành công.",
        "Đọc nguyên nhân trong `status.firmware.lastError`, rồi khai báo bản phát hành tốt hơn.";
    AttemptFailed:
        "Lần cập nhật kết thúc không thành công; thiết bị vẫn làm việc với phiên bản cũ.",
        "Đọc `status.firmware.lastError`; khai báo bản phát hành khác, hoặc thêm chú giải kalong.dev/retry để thử lại.";
    Cancelled:
        "Lần cập nhật bị hủy trước khi động đến thiết bị.",
        "Không cần làm gì; nếu vẫn muốn, khai báo lại bản phát hành.";
    Quarantined:
        "Thiết bị ở trạng thái không rõ, cần có người kiểm tra.",
        "Cử người đến thiết bị; khi thiết bị đã ổn, thêm chú giải kalong.dev/release-quarantine.";
    AwaitingRecertification:
        "Không được dùng thiết bị đo để giao dịch cho đến khi ghi nhận tem kiểm định mới.",
        "Mời cơ quan đo lường kiểm định và niêm phong; trước đó không dùng để giao dịch.";
    SignatureInvalid:
        "Thiếu chữ ký số của bản phát hành, hoặc chữ ký sai.",
        "Không cài đặt: yêu cầu tác giả ký lại, và tìm hiểu bản này từ đâu đến.";
    DigestMismatch:
        "Gói firmware không phải là gói mà bản phát hành nêu.",
        "Không cài đặt: nội dung khác với nội dung đã ký. Hãy phát hành đúng gói.";
    ArtifactTooLarge:
        "Gói firmware lớn hơn bộ nhớ đệm của bộ điều hành.",
        "Tăng bộ nhớ đệm của bộ điều hành, hoặc phát hành gói nhỏ hơn.";
    HostNotAllowed:
        "Máy chủ chứa gói firmware không có trong danh sách cho phép.",
        "Thêm máy chủ vào danh sách cho phép của bộ điều hành, hoặc chuyển gói sang máy chủ đã được phép.";
    FetchFailed:
        "Không tải được gói firmware.",
        "Kiểm tra máy chủ chứa gói có trả lời không; bộ điều hành tự thử lại.";
    Fetching:
        "Gói firmware đang được tải vào bộ nhớ đệm.",
        WAIT;
    Cached:
        "Gói firmware đã có trong bộ nhớ đệm.",
        NOTHING;
    SignatureValid:
        "Các chữ ký số đều đúng.",
        NOTHING;
    CounterTooLow:
        "Số đếm an toàn của bản phát hành thấp hơn số trên thiết bị.",
        "Phát hành phiên bản mong muốn thành bản mới với số đếm an toàn cao hơn.";
    Incompatible:
        "Bản phát hành không dành cho mẫu hoặc phiên bản phần cứng này.",
        "Khai báo bản phát hành dành cho đúng mẫu và phần cứng này.";
    Expired:
        "Bản phát hành đã quá hạn dùng.",
        "Phát hành bản mới với hạn dùng muộn hơn.";
    ProbeFailed:
        "Thiết bị không qua được phép thử sau khi firmware mới khởi động.",
        "Xem phép thử nào không đạt; phiên bản cũ đã chạy lại. Yêu cầu tác giả sửa bản phát hành.";
    WrongVersion:
        "Thiết bị báo một phiên bản khác với phiên bản đã cài.",
        "Yêu cầu tác giả sửa số phiên bản trong bản phát hành hoặc trong gói.";
    Revoked:
        "Bản phát hành đã bị thu hồi đối với mẫu thiết bị này.",
        "Khai báo bản phát hành khác: bản đã thu hồi không được cài, dù Git vẫn yêu cầu.";
    NotRevoked:
        "Bản phát hành không bị thu hồi.",
        NOTHING;
    CalibrationValid:
        "Hiệu chuẩn còn hiệu lực.",
        NOTHING;
    CalibrationExpired:
        "Hiệu chuẩn đã hết hạn hoặc chưa từng được ghi nhận.",
        "Cho hiệu chuẩn thiết bị và ghi ngày mới vào thiết bị.";
    AllDevicesReady:
        "Mọi vị trí đều có thiết bị và thiết bị đều sẵn sàng.",
        NOTHING;
    DeviceNotReady:
        "Có thiết bị trong làn hoặc trạm chưa sẵn sàng.",
        "Kiểm tra các thiết bị nêu trong lời nhắn.";
    DeviceNotAvailable:
        "Thiết bị ở một vị trí bắt buộc không phục vụ được.",
        "Kiểm tra các thiết bị nêu trong lời nhắn: thiếu chúng thì làn không phục vụ được.";
    Open:
        "Làn đang cho phương tiện hoặc hành khách qua.",
        NOTHING;
    Closed:
        "Làn đóng đúng như khai báo.",
        "Không cần làm gì; khi cần dùng làn, đặt `spec.admission` thành Open.";
    AdmissionPending:
        "Làn chưa ở trạng thái đóng mở như khai báo.",
        "Chờ: làn đang mở hoặc đang đóng; nếu vẫn vậy, kiểm tra bộ điều khiển của làn tại hiện trường.";
    FloorsHold:
        "Mọi mức sàn năng lực đều được giữ.",
        NOTHING;
    FloorBroken:
        "Số làn đang mở ít hơn mức sàn yêu cầu.",
        "Mở hoặc sửa làn cùng loại và cùng hướng; trước đó không làn nào được làm trống thêm.";
    NoFloor:
        "Không khai báo mức sàn nào.",
        "Không cần làm gì; nếu có năng lực không được phép mất, khai báo `spec.capacityFloors`.";
    AuthorityValid:
        "Căn cứ pháp lý để hoạt động còn hiệu lực hôm nay.",
        NOTHING;
    AuthorityExpired:
        "Căn cứ pháp lý để hoạt động không có hiệu lực hôm nay.",
        "Đề nghị nhà chức trách gia hạn và ghi vào `spec.authority`; trong lúc đó dùng làn truyền thống.";
    NoAuthority:
        "Chưa khai báo căn cứ pháp lý.",
        "Không cần làm gì; nếu có văn bản, ghi vào `spec.authority`.";
    NoCounterpart:
        "Chưa khai báo kênh kết nối với phía bạn.",
        "Không cần làm gì; khi có, nêu tên BilateralLink trong `spec.linkRef`.";
    NoLiveLane:
        "Không có làn nào thuộc giai đoạn đã mở.",
        "Mở giai đoạn của các làn, hoặc khai báo làn.";
    LaneNotReady:
        "Có làn chưa sẵn sàng.",
        "Kiểm tra các làn nêu trong lời nhắn.";
    StationNotReady:
        "Có trạm kiểm tra chưa sẵn sàng.",
        "Kiểm tra các trạm nêu trong lời nhắn.";
    NoOpenLane:
        "Không làn nào đang mở cho một loại dịch vụ có mức sàn.",
        "Mở hoặc sửa một làn cùng loại và cùng hướng.";
    InSync:
        "Máy biên giữ đúng những gì được giao.",
        NOTHING;
    OutOfSync:
        "Máy biên chưa giữ đủ những gì được giao.",
        "Chờ: máy biên đang được giao; nếu vẫn vậy, kiểm tra đường truyền của nó.";
    ClockSynchronised:
        "Đồng hồ đã được đồng bộ.",
        NOTHING;
    ClockUnsynchronised:
        "Đồng hồ của máy biên chưa được đồng bộ.",
        "Cho máy biên một máy chủ thời gian mà nó truy cập được.";
    CertificateCurrent:
        "Chứng thư số còn hiệu lực.",
        NOTHING;
    CertificateEnding:
        "Chứng thư số sắp hết hạn hoặc đã hết hạn.",
        "Kiểm tra máy biên có kết nối không: nó tự gia hạn. Nếu chứng thư đã hết hạn, đăng ký lại.";
    OutboxDraining:
        "Hàng đợi gửi đi còn chỗ.",
        NOTHING;
    OutboxFull:
        "Hàng đợi gửi đi đã đầy; máy biên giữ lại những gì không được phép mất.",
        "Khôi phục đường truyền của máy biên để nó gửi những gì đang giữ.";
    DuplicateIdentity:
        "Hai máy biên dùng chung một định danh.",
        "Tìm máy thứ hai và tắt nó đi; sau đó đăng ký lại máy đúng.";
    TermImplausible:
        "Máy biên nêu một nhiệm kỳ lãnh đạo không thể có thật.",
        "Đăng ký lại máy biên: kho dữ liệu của nó bị hỏng hoặc bị giả mạo.";
    Orphaned:
        "Máy biên giữ một mục mà không ai khai báo nữa.",
        "Khai báo lại nếu mục này thuộc về đây; muốn gỡ bỏ thì khai báo lại rồi xóa.";
    Enrolled:
        "Máy biên đã đăng ký và nhận chứng thư số.",
        NOTHING;
    CertificateRenewed:
        "Chứng thư số của máy biên đã được gia hạn.",
        NOTHING;
    AttemptStarted:
        "Lần cập nhật đã bắt đầu.",
        WAIT;
    FirmwareProven:
        "Phiên bản mới đang chạy và đã được kiểm chứng.",
        NOTHING;
    DeviceRecovered:
        "Thiết bị phục vụ lại và không còn báo lỗi.",
        NOTHING;
    OfflinePolicyClosed:
        "Chính sách khi mất kết nối đã đóng làn.",
        "Khôi phục đường truyền của máy biên: làn tự mở lại.";
    OfflinePolicyEnded:
        "Chính sách khi mất kết nối đã trả lại làn.",
        NOTHING;
    Terminating:
        "Đối tượng đang được gỡ bỏ.",
        "Chờ máy biên buông nó ra; xem mục blockedBy để biết đang chờ điều gì.";
    NoReleaseKeys:
        "Bộ điều hành chưa được giao khóa của các tác giả firmware.",
        "Giao cho bộ điều hành tài liệu khóa của các tác giả (`releaseKeys` của chart).";
    ModelValid:
        "Mẫu thiết bị đầy đủ và nhất quán.",
        NOTHING;
    ReleaseUsable:
        "Bản phát hành đã được kiểm tra và có trong bộ nhớ đệm.",
        NOTHING;
    Commissioning:
        "Thuộc một giai đoạn đang chạy thử: được liên lạc và kiểm chứng, nhưng chưa phục vụ.",
        "Không cần làm gì cho luồng xe: các làn vẫn đóng cho đến khi giai đoạn được mở trong Git.";
    UnknownPhase:
        "Giai đoạn được nêu tên không tồn tại; không thay đổi gì cho đến khi có.",
        "Khai báo Phase được nêu tên, hoặc sửa `spec.phase`.";
    DrainAccepted:
        "Yêu cầu làm trống làn đã được chấp nhận.",
        WAIT;
    EmergencyAccepted:
        "Yêu cầu được chấp nhận dù một mức sàn bị phá: có người đã tuyên bố khẩn cấp.",
        "Báo cho cán bộ tại cửa khẩu mức sàn nào bị phá, và kết thúc yêu cầu càng sớm càng tốt.";
    CapacityFloor:
        "Một mức sàn năng lực sẽ bị phá, nên thay đổi phải chờ.",
        "Mở hoặc sửa một làn khác cùng loại và cùng hướng, hoặc chờ một làn phục vụ trở lại.";
    DrainInProgress:
        "Một làn khác cùng loại và cùng hướng đang được làm trống để thay đổi; mỗi lần chỉ một làn.",
        "Chờ đến lượt: mỗi loại và hướng chỉ làm trống một làn tại một thời điểm.";
    DrainTimedOut:
        "Làn không trống kịp thời hạn; làn đã mở lại và sẽ được yêu cầu lại sau.",
        "Cho xe đang chờ đi tiếp và giải phóng làn; hệ thống sẽ tự yêu cầu lại.";
    DrainRefused:
        "Máy biên từ chối làm trống làn.",
        "Đọc lý do từ chối và xử lý ngay tại làn.";
    DrainLapsed:
        "Yêu cầu đã quá hạn và tự kết thúc.",
        "Không cần làm gì; xóa yêu cầu, hoặc tạo yêu cầu mới nếu làn cần trống lần nữa.";
    DrainHolds:
        "Yêu cầu đang giữ làn; nó kết thúc khi bị xóa hoặc khi quá hạn.",
        "Khi xong việc, kết thúc yêu cầu: `kubectl kalong drain release <tên>`.";
    NothingToDrain:
        "Đối tượng của yêu cầu không có gì để làm trống.",
        "Kiểm tra yêu cầu có nêu đúng đối tượng không; xóa nếu không cần.";
    Reopened:
        "Làn phục vụ trở lại sau khi yêu cầu cuối cùng kết thúc.",
        NOTHING;
    GateRefused:
        "Giai đoạn được yêu cầu chuyển sang trạng thái mà điều kiện chưa đạt; mọi thứ giữ nguyên.",
        "Bổ sung điều mà điều kiện còn thiếu, hoặc trả `spec.state` của Phase về như cũ trong Git.";
    GatesMet:
        "Mọi điều kiện chuyển giai đoạn đều đạt.",
        NOTHING;
    GateFailed:
        "Có điều kiện chuyển giai đoạn chưa đạt.",
        "Bổ sung điều còn thiếu theo lời nhắn trước khi yêu cầu mở giai đoạn.";
    GateVoided:
        "Một điều kiện đã cho giai đoạn mở nay không còn đạt.",
        "Giai đoạn vẫn mở; khôi phục điều còn thiếu, hoặc đưa giai đoạn trở lại trong Git.";
    PhaseOpen:
        "Giai đoạn đang phục vụ.",
        NOTHING;
    PhaseComplete:
        "Giai đoạn đã hoàn thành.",
        NOTHING;
    PhaseNotOpen:
        "Giai đoạn chưa phục vụ.",
        "Không cần làm gì cho đến khi giai đoạn được mở trong Git.";
    PhaseClosing:
        "Các làn của giai đoạn đang được làm trống trước khi giai đoạn lùi lại.",
        "Chờ các làn trống hết.";
    MilestonePassed:
        "Một mốc tiến độ đã quá ngày.",
        "Bổ sung phần còn thiếu, hoặc thống nhất ngày mới và sửa mốc trong Git.";
    OnTime:
        "Không có mốc tiến độ nào quá ngày mà chưa đạt.",
        NOTHING;
    InterlockOpen:
        "Một khóa liên động an toàn đang mở; các làn phụ thuộc vào nó bị đóng.",
        "Đến trạm kiểm tra, bảo đảm an toàn rồi đóng khóa liên động; các làn tự mở lại.";
    InterlocksClosed:
        "Mọi khóa liên động đều an toàn.",
        NOTHING;
    InterlockUnknown:
        "Không đọc được một khóa liên động an toàn.",
        "Khôi phục kết nối với thiết bị; bộ điều khiển tại chỗ vẫn bảo vệ người trong lúc đó.";
    NoInterlock:
        "Trạm không có khóa liên động.",
        NOTHING;
    SealBroken:
        "Một niêm phong đã bị phá.",
        "Ngừng dùng thiết bị, mời nhà chức trách kiểm tra và niêm phong lại.";
    LicenceValid:
        "Giấy phép còn hiệu lực.",
        NOTHING;
    LicenceEnding:
        "Giấy phép còn hiệu lực và sẽ hết hạn trong vài tuần.",
        "Xin gia hạn giấy phép trước khi hết hạn và ghi ngày mới.";
    LicenceExpired:
        "Giấy phép đã hết hạn.",
        "Ngừng dùng trạm cho đến khi giấy phép được gia hạn và ghi nhận.";
    NoLicence:
        "Chưa khai báo giấy phép.",
        "Không cần làm gì; nếu pháp luật yêu cầu giấy phép, hãy ghi vào khai báo.";
    FallbackServes:
        "Trạm không phục vụ được và trạm dự phòng đang thay thế.",
        "Chuyển luồng xe sang trạm dự phòng và sửa trạm này.";
    VehicleOnline:
        "Xe đang kết nối và trạng thái của xe còn mới.",
        NOTHING;
    VehicleNotSeen:
        "Chưa từng nhận được tin từ xe.",
        "Kiểm tra xe đã bật chưa và hệ thống điều khiển đội xe có biết xe theo đúng số sê-ri đã khai báo không.";
    VehicleOffline:
        "Xe đã báo ngắt kết nối với đội xe.",
        "Không cần làm gì nếu xe được tắt có chủ ý; nếu không, hãy bật xe.";
    VehicleConnectionBroken:
        "Xe bị đứt kết nối với đội xe.",
        "Tìm xe trong bãi và kiểm tra mạng vô tuyến ở đó.";
    StateStale:
        "Xe có kết nối nhưng quá lâu không gửi trạng thái.",
        "Kiểm tra xe và hệ thống điều khiển đội xe: xe có kết nối mà không báo gì.";
    FleetUnreachable:
        "Không liên lạc được với máy chủ MQTT của đội xe.",
        "Kiểm tra máy chủ của đội xe và mạng giữa nó với máy biên.";
    VehicleFaulty:
        "Xe báo một lỗi khiến xe phải dừng.",
        "Đến xe, xử lý lỗi xe báo và đưa xe trở lại phục vụ.";
    NotAutomatic:
        "Xe không ở chế độ nhận lệnh tự động.",
        "Khi không còn ai làm việc với xe, chuyển xe sang chế độ tự động.";
    PositionKnown:
        "Xe biết vị trí của mình.",
        NOTHING;
    PositionLost:
        "Xe không biết vị trí của mình.",
        "Đưa xe đến chỗ xe nhận ra được và cho xe tự định vị lại.";
    MapsEnabled:
        "Các bản đồ đã khai báo đang được dùng.",
        NOTHING;
    MapsDiffer:
        "Thiếu bản đồ đã khai báo, hoặc xe dùng phiên bản khác.",
        "Yêu cầu hệ thống điều khiển đội xe nạp và bật các bản đồ đã khai báo.";
    NothingDeclared:
        "Không có khai báo nào để so sánh.",
        NOTHING;
    AtServiceNode:
        "Xe đứng tại điểm bảo dưỡng, không tải, đủ pin và ở phía nước ta.",
        NOTHING;
    NotSafeToChange:
        "Xe không ở nơi được phép thay đổi, hoặc đang chở hàng, hoặc pin yếu.",
        "Khi cần thay đổi, đưa xe về điểm bảo dưỡng trong nước, không tải và đủ pin.";
    DryRun:
        "Chưa có thỏa thuận nào có hiệu lực: kênh được theo dõi và không gửi gì.",
        "Không cần làm gì: không gửi gì cho đến khi thỏa thuận có hiệu lực và được ghi vào `spec.agreements`.";
    AgreementValid:
        "Có thỏa thuận đang có hiệu lực.",
        NOTHING;
    NoAgreement:
        "Không có thỏa thuận nào có hiệu lực.",
        "Đề nghị nhà chức trách hai bên thỏa thuận, rồi ghi vào `spec.agreements`.";
    PeerAnswers:
        "Phía bạn có trả lời.",
        NOTHING;
    PeerUnreachable:
        "Phía bạn không trả lời.",
        "Hỏi phía bạn cổng kết nối của họ có chạy không, và kiểm tra đường truyền giữa hai bên.";
    ClocksAgree:
        "Đồng hồ hai bên lệch nhau không quá hai giây.",
        NOTHING;
    ClockSkewed:
        "Đồng hồ hai bên lệch nhau quá hai giây.",
        "Thống nhất nguồn thời gian với phía bạn và chỉnh đồng hồ bị sai.";
    NotExchanging:
        "Sẽ được đánh giá khi hai bên trao đổi thông điệp.",
        NOTHING;
    InternalError:
        "Một bước nội bộ bị lỗi và đang được thử lại.",
        "Hệ thống tự thử lại; nếu vẫn vậy, gửi nhật ký của bộ điều hành cho người bảo trì.";
};

pub(super) const CODES: &[(BlockCode, Entry)] = codes! {
    AgentUnreachable:
        "Đang chờ một máy biên im lặng lâu hơn thời gian cho phép.",
        "Kiểm tra máy biên tại cửa khẩu: nguồn điện, dây mạng, đường truyền.";
    AgentNotEnrolled:
        "Đang chờ một máy biên chưa từng được đăng ký.",
        "Chạy `kubectl kalong enrol <tên>` rồi chạy lệnh được in ra trên máy biên.";
    AgentConfirmation:
        "Đang chờ máy biên xác nhận điều được giao.",
        "Chờ; nếu vẫn vậy, kiểm tra máy biên có kết nối không.";
    LaneDrain:
        "Đang chờ làn trống và được giữ trống.",
        "Chờ yêu cầu làm trống làn, hoặc xem yêu cầu đó đang chờ điều gì.";
    CapacityFloor:
        "Phải chờ vì một mức sàn năng lực của cửa khẩu sẽ bị phá.",
        "Mở hoặc sửa một làn khác cùng loại và cùng hướng, hoặc chờ một làn phục vụ trở lại.";
    DrainInProgress:
        "Chờ đến lượt: một làn khác cùng loại và cùng hướng đang được làm trống để thay đổi.",
        "Chờ yêu cầu kia kết thúc, hoặc kết thúc nó nếu không ai cần nữa.";
    LaneNotEmpty:
        "Đang chờ xe hoặc người bên trong ra khỏi làn.",
        "Ra làn kiểm tra và cho những gì còn trong làn đi tiếp.";
    InterlockOpen:
        "Đang chờ một khóa liên động an toàn đang mở.",
        "Đến trạm kiểm tra, bảo đảm an toàn rồi đóng khóa liên động.";
    PhaseGate:
        "Đang chờ một điều kiện chuyển giai đoạn chưa đạt.",
        "Bổ sung điều còn thiếu theo lời nhắn.";
    Agreement:
        "Đang chờ một thỏa thuận giữa hai bên.",
        "Đề nghị nhà chức trách hai bên thỏa thuận, rồi ghi vào nơi khai báo kênh kết nối.";
    MissingReference:
        "Đang chờ một đối tượng không tồn tại.",
        "Khai báo đối tượng đó, hoặc sửa lại tên ở nơi dùng tên.";
    StillReferenced:
        "Chưa thể gỡ bỏ khi đối tượng khác còn nêu tên nó.",
        "Chuyển hoặc xóa các đối tượng còn nêu tên nó.";
    Quarantine:
        "Đang chờ người đến kiểm tra thiết bị.",
        "Cử người đến thiết bị; khi thiết bị đã ổn, thêm chú giải kalong.dev/release-quarantine.";
    Retry:
        "Có việc không thành công và lần thử sau chưa đến giờ.",
        "Chờ đến giờ được nêu; trong lúc đó loại bỏ nguyên nhân.";
    Recertification:
        "Đang chờ cơ quan đo lường kiểm định và niêm phong.",
        "Mời cơ quan đo lường kiểm định và niêm phong; trước đó không dùng để giao dịch.";
};
