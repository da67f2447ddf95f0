<?php
require __DIR__ . '/common.php';
$name = (string) ($_POST['name'] ?? '');
if (hash_equals(USERS[$name] ?? "\0", (string) ($_POST['password'] ?? ''))) {
    session_regenerate_id(true);
    $_SESSION = ['user' => $name];
} else {
    $_SESSION['said'] = 'That is not it.';
}
go('index.php');
