# Receives webhooks: ruby receiver.rb. It needs Ruby 3.0 or later and, as that no longer brings one, a server: gem install webrick.
#
# PORT                     where it listens on 127.0.0.1 (8080); what speaks TLS stands in front
# WEBHOOK_SECRET           the secret of the endpoint
# WEBHOOK_PREVIOUS_SECRET  the one before, while a rotation is under way
# WEBHOOK_SCHEME           meshia: X-Meshia-Signature (the default); standard: the headers of Standard Webhooks

require "json"
require "openssl"
require "webrick"

LIMIT = 1 << 20 # bytes of body
TOLERANCE = 300 # seconds between the sender's clock and ours

# The headers are a list of values for each name. One value is good, two are not.
def meshia(headers, body, secret)
  values = headers["x-meshia-signature"]
  values.length == 1 && same(values[0], "sha256=" + OpenSSL::HMAC.hexdigest("SHA256", secret, body))
end

def standard(headers, body, secret)
  values = headers.values_at("webhook-id", "webhook-timestamp", "webhook-signature")
  return false unless values.all? { |v| v.length == 1 }

  id, timestamp, signatures = values.flatten
  return false unless timestamp.match?(/\A[0-9]{1,12}\z/) && (Time.now.to_i - timestamp.to_i).abs <= TOLERANCE

  key = secret.start_with?("whsec_") ? secret.delete_prefix("whsec_").unpack1("m") : secret
  mac = OpenSSL::HMAC.digest("SHA256", key, "#{id}.#{timestamp}.".b + body)
  signatures.split(" ").any? { |s| same(s, "v1," + [mac].pack("m0")) }
end

def same(a, b)
  a.bytesize == b.bytesize && OpenSSL.fixed_length_secure_compare(a, b)
end

# Stores the event durably and returns; the work is done elsewhere. An id that is stored already changes nothing.
def accept(id, event)
  puts [id, event["event"], event["session_id"]].join(" ")
end

# Returns the raw bytes: nothing may decode them before they are verified.
def read(req)
  body = String.new
  req.body do |part|
    body << part
    raise WEBrick::HTTPStatus::RequestEntityTooLarge if body.bytesize > LIMIT
  end
  body
end

secrets = ENV.values_at("WEBHOOK_SECRET", "WEBHOOK_PREVIOUS_SECRET").reject { |s| s.to_s.empty? }
check = { "meshia" => :meshia, "standard" => :standard }[ENV.fetch("WEBHOOK_SCHEME", "meshia")]
abort "WEBHOOK_SECRET is missing, or WEBHOOK_SCHEME is neither meshia nor standard" if secrets.empty? || !check

$stdout.sync = true
server = WEBrick::HTTPServer.new(
  BindAddress: "127.0.0.1", Port: ENV.fetch("PORT", "8080").to_i, RequestTimeout: 10,
  Logger: WEBrick::Log.new(File::NULL), AccessLog: []
)
server.mount_proc("/") do |req, res|
  raise WEBrick::HTTPStatus::MethodNotAllowed unless req.request_method == "POST"

  body = read(req)
  raise WEBrick::HTTPStatus::Unauthorized unless secrets.any? { |secret| send(check, req.header, body, secret) }

  begin
    event = JSON.parse(body)
  rescue JSON::ParserError
    raise WEBrick::HTTPStatus::BadRequest
  end
  accept(req["webhook-id"], event)
  res.status = 204
end
trap("TERM") { server.shutdown }
puts "listening on 127.0.0.1:#{server.listeners[0].addr[1]}"
server.start
