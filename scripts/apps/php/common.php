<?php
// A cloakroom behind a login: who is in may leave files and fetch them. STATE_DIR is where they go.
declare(strict_types=1);

const USERS = ['grace' => 'hopper'];

session_start(['cookie_httponly' => true, 'cookie_samesite' => 'Lax', 'use_strict_mode' => true]);

function files_folder(): string {
    $folder = (getenv('STATE_DIR') ?: sys_get_temp_dir()) . '/files';
    if (!is_dir($folder)) mkdir($folder, 0700, true);
    return $folder;
}

function user(): ?string { return $_SESSION['user'] ?? null; }

function must_be_in(): void {
    if (user() !== null) return;
    http_response_code(403);
    exit("Not without a ticket.\n");
}

function go(string $page): never {
    header('Location: ' . rtrim(dirname($_SERVER['SCRIPT_NAME']), '/') . '/' . $page, true, 303);
    exit;
}

function text(string $raw): string { return htmlspecialchars($raw, ENT_QUOTES); }
