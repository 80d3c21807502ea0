<?php
// Receives webhooks: php -S 127.0.0.1:8080 receiver.php, or behind any web server. It needs PHP 8.0 or later and nothing else.
//
// WEBHOOK_SECRET           the secret of the endpoint
// WEBHOOK_PREVIOUS_SECRET  the one before, while a rotation is under way
// WEBHOOK_SCHEME           meshia: X-Meshia-Signature (the default); standard: the headers of Standard Webhooks

declare(strict_types=1);

const LIMIT = 1 << 20; // bytes of body
const TOLERANCE = 300; // seconds between the sender's clock and ours

// PHP joins a header that came twice with a comma, so a doubled signature is no signature.
function header_value(string $name): string
{
    return $_SERVER['HTTP_' . strtoupper(strtr($name, '-', '_'))] ?? '';
}

function meshia(string $body, string $secret): bool
{
    return hash_equals('sha256=' . hash_hmac('sha256', $body, $secret), header_value('X-Meshia-Signature'));
}

function standard(string $body, string $secret): bool
{
    $id = header_value('webhook-id');
    $timestamp = header_value('webhook-timestamp');
    $signatures = header_value('webhook-signature');
    if ($id === '' || str_contains($signatures, ', ')
        || !preg_match('/^[0-9]{1,12}$/D', $timestamp) || abs(time() - (int) $timestamp) > TOLERANCE) {
        return false;
    }
    $key = str_starts_with($secret, 'whsec_') ? base64_decode(substr($secret, 6)) : $secret;
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    foreach (explode(' ', $signatures) as $signature) {
        if (hash_equals($expected, $signature)) {
            return true;
        }
    }
    return false;
}

// Stores the event durably and returns; the work is done elsewhere. An id that is stored already changes nothing.
function accept(string $id, array $event): void
{
    error_log(implode(' ', [$id, $event['event'] ?? '', $event['session_id'] ?? '']));
}

function receive(): int
{
    $secrets = array_filter(
        [getenv('WEBHOOK_SECRET'), getenv('WEBHOOK_PREVIOUS_SECRET')],
        fn ($s) => $s !== false && $s !== '',
    );
    $check = ['meshia' => 'meshia', 'standard' => 'standard'][getenv('WEBHOOK_SCHEME') ?: 'meshia'] ?? null;
    if ($secrets === [] || $check === null) {
        error_log('WEBHOOK_SECRET is missing, or WEBHOOK_SCHEME is neither meshia nor standard');
        return 500;
    }
    if ($_SERVER['REQUEST_METHOD'] !== 'POST') {
        header('Allow: POST');
        return 405;
    }
    // The raw bytes: $_POST and json_decode come after they are verified.
    $body = file_get_contents('php://input', false, null, 0, LIMIT + 1);
    if (strlen($body) > LIMIT) {
        return 413;
    }
    foreach ($secrets as $secret) {
        if (!$check($body, $secret)) {
            continue;
        }
        $event = json_decode($body, true);
        if (!is_array($event)) {
            return 400;
        }
        accept(header_value('webhook-id'), $event);
        return 204;
    }
    return 401;
}

http_response_code(receive());
